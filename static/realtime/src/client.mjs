/**
 * Live status of Celery tasks, in the browser and in Node 22 or newer.
 */

import { Core, sharedCore } from "./core.mjs";
import { RealtimeError } from "./errors.mjs";
import { isTerminal } from "./feed.mjs";
import { TaskHandle, TopicHandle } from "./handles.mjs";
import { complete, readConfig } from "./platform.mjs";

export { RealtimeError, TaskHandle, TopicHandle, isTerminal };

/** @typedef {import("./connection.mjs").ConnectionState} ConnectionState */
/** @typedef {import("./feed.mjs").Progress} Progress */
/** @typedef {import("./feed.mjs").Status} Status */
/** @typedef {import("./handles.mjs").Handle} Handle */
/** @typedef {import("./listeners.mjs").Undo} Undo */
/** @typedef {import("./platform.mjs").Platform} Platform */
/** @typedef {import("./tokens.mjs").Token} Token */

const DEFAULT_PATH = "/realtime/ws/";

/**
 * Returns a client, which connects when something is subscribed to. Clients of one address share a
 * connection; one with a `platform` of its own has its own.
 * @param {string | URL} [url] The WebSocket's address. By default the one that
 *   `{% realtime_script %}` put into the page, else `/realtime/ws/` of the page's own site.
 * @param {Partial<Platform>} [platform] Replaces what the browser or Node provides, for tests.
 * @returns {Realtime}
 */
export function connect(url, platform) {
  return new Realtime(url, platform);
}

/**
 * The path of a task id in an address of the HTTP side: plain ids as they are, others as `~` and
 * base64url, since a decoded `%2F` or `..` would change the route.
 * @param {string} id
 * @returns {string}
 */
export function idPath(id) {
  if (/^[A-Za-z0-9_-]+$/.test(id)) return id;
  const bytes = new TextEncoder().encode(id);
  const text = btoa(String.fromCharCode(...bytes));
  return `~${text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

/**
 * Any number of tasks and topics over one connection. Its `state` event carries the
 * `ConnectionState` as `detail`.
 */
export class Realtime extends EventTarget {
  #core;

  /** Handles made here that are not closed. @type {Set<Handle>} */
  #handles = new Set();

  #isWatching = false;

  /**
   * @param {string | URL} [url]
   * @param {Partial<Platform>} [platform]
   */
  constructor(url, platform) {
    super();
    const location = platform?.location ?? globalThis.location?.href;
    const config = platform?.config ?? readConfig();
    const address = new URL(url ?? config.socket ?? DEFAULT_PATH, location);
    address.protocol = address.protocol.replace("http", "ws");
    this.#core =
      platform === undefined
        ? sharedCore(address.href, () => complete({ config }))
        : new Core(address.href, complete({ ...platform, config }));
  }

  /** The state of the connection. */
  get state() {
    return this.#core.state;
  }

  /** The time by the server's clock, for showing how long a task has run. */
  get serverTime() {
    return new Date(this.#core.serverNow);
  }

  /**
   * Calls back with the present state, and with each change.
   * @param {(state: ConnectionState) => void} handler
   * @returns {Undo}
   */
  onState(handler) {
    return this.#core.states.add(handler, () => [this.state]);
  }

  /**
   * @param {string} type
   * @param {EventListenerOrEventListenerObject | null} listener
   * @param {boolean | AddEventListenerOptions} [options]
   */
  addEventListener(type, listener, options) {
    super.addEventListener(type, listener, options);
    if (type !== "state" || this.#isWatching) return;
    this.#isWatching = true;
    let known = this.state;
    this.onState((state) => {
      if (state === known) return;
      known = state;
      this.dispatchEvent(new CustomEvent("state", { detail: state }));
    });
  }

  /**
   * Subscribes to one task.
   * @param {string} id Celery's task id.
   * @param {{token?: Token | undefined}} [options]
   * @returns {TaskHandle}
   */
  task(id, options = {}) {
    return this.#keep(new TaskHandle(id, this.#core.subscribe(`task:${id}`, options)));
  }

  /**
   * Subscribes to a topic of many tasks, such as `user:me`.
   * @param {string} name
   * @param {{token?: Token | undefined, limit?: number | undefined}} [options] `limit`: tasks in
   *   the snapshot, 1 to 200, 50 by default; `more()` of the handle loads others.
   * @returns {TopicHandle}
   */
  topic(name, options = {}) {
    return this.#keep(new TopicHandle(name, this.#core.subscribe(name, options)));
  }

  /**
   * Asks the service, by this page's session, for a token that opens these topics, for requests of
   * the page's own. Rejects if one of them is refused.
   * @param {string[]} topics
   * @returns {Promise<string>}
   */
  async requestToken(topics) {
    const { token, refused } = await this.#core.site.requestToken(topics);
    if (token !== "" && refused.size === 0) return token;
    throw new RealtimeError("not_found", "no such topic, or not for you");
  }

  /**
   * The address of a task's result, whole: for `fetch`, with the session's cookie or a token.
   * @param {string} id
   * @returns {string}
   */
  resultUrl(id) {
    return this.#core.site.url(`tasks/${idPath(id)}/result/`);
  }

  /**
   * Closes every handle made by this client, and the connection unless other clients use it.
   * Subscribing again connects again.
   */
  close() {
    for (const handle of [...this.#handles]) handle.close();
    this.#core.closeIfIdle();
  }

  /**
   * @template {Handle} T
   * @param {T} handle
   * @returns {T}
   */
  #keep(handle) {
    this.#handles.add(handle);
    handle.onClosed(() => this.#handles.delete(handle));
    return handle;
  }
}
