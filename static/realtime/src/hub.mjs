/**
 * One connection and its subscriptions, shared by all clients of a page that name the same server.
 */

import { Connection } from "./connection.mjs";
import { RealtimeError } from "./errors.mjs";
import { Listeners, report } from "./listeners.mjs";
import { Http } from "./http.mjs";
import { Subscription } from "./subscription.mjs";
import { Timer } from "./timer.mjs";
import { Tokens } from "./tokens.mjs";

/** @typedef {import("./connection.mjs").ConnectionState} ConnectionState */
/** @typedef {import("./connection.mjs").Frame} Frame */
/** @typedef {import("./platform.mjs").Platform} Platform */
/** @typedef {import("./tokens.mjs").Token} Token */

/** How long a connection without subscriptions stays open, in milliseconds. */
const IDLE = 5000;

/** The limit of servers that name none. */
const MAX_SUBSCRIPTIONS = 128;

export class Hub {
  http;
  #connection;
  #platform;
  #tokens;

  /** By topic: active subscriptions, and those that wait. @type {Map<string, Subscription>} */
  #subscriptions = new Map();

  /** @type {Listeners<ConnectionState>} */
  states = new Listeners();

  #idleTimer;
  #isLimitReported = false;

  /**
   * @param {string} url
   * @param {Platform} platform
   */
  constructor(url, platform) {
    this.#platform = platform;
    this.#idleTimer = new Timer(platform);
    this.http = new Http(url, platform);
    this.#connection = new Connection(url, platform, {
      state: (state) => this.#onState(state),
      frame: (frame) => this.#onFrame(frame),
      isNeeded: () => this.#subscriptions.size > 0,
      diagnose: () => this.http.diagnose(),
    });
    this.#tokens = new Tokens(
      platform,
      this.http,
      () => this.#subscriptions.values(),
      () => this.state.state === "connected",
    );
  }

  /** The state of the connection. */
  get state() {
    return this.#connection.state;
  }

  /** Milliseconds since 1970 by the server's clock; by the machine's before the first welcome. */
  get serverNow() {
    return this.#connection.serverNow;
  }

  /**
   * Returns the subscription to a topic, a new one if there is none.
   * @param {string} topic
   * @param {{token?: Token | undefined, limit?: number | undefined}} options
   */
  subscribe(topic, { token, limit }) {
    if (token != null && typeof token !== "string" && typeof token !== "function") {
      throw new TypeError("realtime: a token must be a string or a function");
    }
    const known = this.#subscriptions.get(topic);
    const subscription =
      known ??
      new Subscription(topic, {
        connection: this.#connection,
        platform: this.#platform,
        tokens: this.#tokens,
        onClosed: (closed) => this.#remove(closed),
        onTaskEnded: () => this.#subscribeWaiting(),
      });
    this.#subscriptions.set(topic, subscription);
    subscription.limit = limit ?? subscription.limit;
    if (token != null) subscription.setSource(token);
    this.#idleTimer.clear();
    // Later: the caller's handle must receive the error if connecting fails at once.
    if (known === undefined) queueMicrotask(() => this.#start(subscription));
    return subscription;
  }

  /** Closes the connection if nothing is subscribed to. */
  closeIfIdle() {
    if (this.#subscriptions.size > 0) return;
    this.#idleTimer.clear();
    this.#connection.close("closed");
  }

  /** @param {Subscription} subscription */
  #start(subscription) {
    if (this.#subscriptions.get(subscription.topic) !== subscription) return;
    this.#subscribeWaiting();
    this.#connection.open();
  }

  /**
   * While connected: requests as many subscriptions as the server allows. A task that has ended may
   * run again, so its subscription lasts until another one needs the slot.
   */
  #subscribeWaiting() {
    if (this.state.state !== "connected") return;
    const { subscriptions: limit = MAX_SUBSCRIPTIONS } = this.#connection.welcome.limits ?? {};
    const all = [...this.#subscriptions.values()];
    let free = limit - all.filter(({ isActive }) => isActive).length;
    const waiting = all.filter(({ isActive }) => !isActive);
    for (const subscription of waiting.filter(({ hasEnded }) => !hasEnded)) {
      if (free <= 0) {
        const ended = all.find(({ isReplaceable }) => isReplaceable);
        if (ended === undefined) {
          this.#reportLimit(limit);
          return;
        }
        ended.release();
        free += 1;
      }
      free -= 1;
      subscription.request();
    }
    for (const subscription of waiting.filter(({ hasEnded }) => hasEnded).slice(0, free)) {
      subscription.request();
    }
  }

  /** @param {number} limit */
  #reportLimit(limit) {
    if (this.#isLimitReported) return;
    this.#isLimitReported = true;
    this.#platform.warn(
      `realtime: the server allows ${limit} subscriptions on a connection. Others wait until some ` +
        "have ended. Close handles that are not needed, or subscribe to a topic of many tasks.",
    );
  }

  /** @param {Subscription} subscription */
  #remove(subscription) {
    if (this.#subscriptions.get(subscription.topic) !== subscription) return;
    this.#subscriptions.delete(subscription.topic);
    this.#subscribeWaiting();
    if (this.#subscriptions.size > 0 || this.state.state === "disconnected") return;
    this.#idleTimer.set(IDLE, () => this.#connection.close(""));
  }

  /** @param {ConnectionState} state */
  #onState(state) {
    const subscriptions = [...this.#subscriptions.values()];
    if (state.state !== "connected") for (const one of subscriptions) one.pause();
    this.#subscribeWaiting();
    if (state.state === "disconnected") {
      this.#tokens.stop();
      this.#idleTimer.clear();
      for (const one of subscriptions) one.fail(new RealtimeError("disconnected", state.reason));
    }
    this.states.emit(state);
  }

  /** @param {Frame} frame */
  #onFrame(frame) {
    if (frame.id > 0) {
      for (const subscription of [...this.#subscriptions.values()]) subscription.onAnswer(frame);
    } else if (frame.topic !== undefined) {
      this.#subscriptions.get(frame.topic)?.onFrame(frame);
    } else if (frame.type === "error") {
      report(new RealtimeError(frame.code, frame.message));
    }
  }
}

/**
 * Returns the hub for an address. Hubs are kept on the page, not in this module, so that two
 * bundles on one page share a connection.
 * @param {string} url
 * @param {() => Platform} platform
 * @returns {Hub}
 */
export function sharedHub(url, platform) {
  const page = /** @type {Record<symbol, Map<string, Hub>>} */ (/** @type {any} */ (globalThis));
  const hubs = (page[Symbol.for("realtime.1")] ??= new Map());
  let hub = hubs.get(url);
  if (hub === undefined) {
    hub = new Hub(url, platform());
    hubs.set(url, hub);
  }
  return hub;
}
