/**
 * The client: live status of Celery tasks, in browsers and in Node 22 or newer.
 */

import { Hub, sharedHub } from "./hub.mjs";
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
 * Returns a client. It connects when something is subscribed to. Clients of one address share a
 * connection, except those with a `platform` of their own.
 * @param {string | URL} [url] The WebSocket's address. By default the one that
 *   `{% realtime_script %}` put into the page, else `/realtime/ws/` of the page's own site.
 * @param {Partial<Platform>} [platform] Replaces functions of the browser or of Node, for tests.
 * @returns {Realtime}
 */
export function connect(url, platform) {
  return new Realtime(url, platform);
}

/**
 * Returns the path of a task id in an address of the HTTP side: plain ids unchanged, others as `~`
 * and base64url, since a decoded `%2F` or `..` would change the route.
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
 * A client for any number of tasks and topics over one connection. Its `state` event has the
 * `ConnectionState` as `detail`.
 */
export class Realtime extends EventTarget {
  #hub;

  /** The open handles of this client. @type {Set<Handle>} */
  #handles = new Set();

  #dispatchesStates = false;

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
    this.#hub =
      platform === undefined
        ? sharedHub(address.href, () => complete({ config }))
        : new Hub(address.href, complete({ ...platform, config }));
  }

  /** The state of the connection. */
  get state() {
    return this.#hub.state;
  }

  /** The time by the server's clock, to show how long a task has run. */
  get serverTime() {
    return new Date(this.#hub.serverNow);
  }

  /**
   * Calls the handler with the present state of the connection, and with each new one.
   * @param {(state: ConnectionState) => void} handler
   * @returns {Undo}
   */
  onState(handler) {
    return this.#hub.states.add(handler, () => [this.state]);
  }

  /**
   * @param {string} type
   * @param {EventListenerOrEventListenerObject | null} listener
   * @param {boolean | AddEventListenerOptions} [options]
   */
  addEventListener(type, listener, options) {
    super.addEventListener(type, listener, options);
    if (type !== "state" || this.#dispatchesStates) return;
    this.#dispatchesStates = true;
    let last = this.state;
    this.onState((state) => {
      if (state === last) return;
      last = state;
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
    return this.#add(new TaskHandle(id, this.#hub.subscribe(`task:${id}`, options)));
  }

  /**
   * Subscribes to a topic of many tasks, such as `user:me`.
   * @param {string} name
   * @param {{token?: Token | undefined, limit?: number | undefined}} [options] `limit`: tasks in
   *   the snapshot, 1 to 200, 50 by default; `more()` of the handle loads further ones.
   * @returns {TopicHandle}
   */
  topic(name, options = {}) {
    return this.#add(new TopicHandle(name, this.#hub.subscribe(name, options)));
  }

  /**
   * Requests a token for these topics by the page's session, for HTTP requests of the page's own.
   * Rejects if the page may not see one of them.
   * @param {string[]} topics
   * @returns {Promise<string>}
   */
  async requestToken(topics) {
    const { token, refused } = await this.#hub.http.requestToken(topics);
    if (token !== "" && refused.size === 0) return token;
    throw new RealtimeError("not_found", "no such topic, or not for you");
  }

  /**
   * Returns the address of a task's complete result, for `fetch` with the session's cookie or a
   * token.
   * @param {string} id
   * @returns {string}
   */
  resultUrl(id) {
    return this.#hub.http.url(`tasks/${idPath(id)}/result/`);
  }

  /**
   * Closes every handle of this client, and the connection unless other clients use it. A new
   * subscription connects again.
   */
  close() {
    for (const handle of [...this.#handles]) handle.close();
    this.#hub.closeIfIdle();
  }

  /**
   * @template {Handle} T
   * @param {T} handle
   * @returns {T}
   */
  #add(handle) {
    this.#handles.add(handle);
    handle.onClosed(() => this.#handles.delete(handle));
    return handle;
  }
}
