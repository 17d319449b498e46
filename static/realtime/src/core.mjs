/**
 * One connection and its subscriptions, shared by all clients of a page that name the same server.
 */

import { Connection } from "./connection.mjs";
import { RealtimeError } from "./errors.mjs";
import { Listeners, report } from "./listeners.mjs";
import { Site } from "./site.mjs";
import { Subscription } from "./subscription.mjs";
import { Tokens } from "./tokens.mjs";

/** @typedef {import("./connection.mjs").ConnectionState} ConnectionState */
/** @typedef {import("./connection.mjs").Frame} Frame */
/** @typedef {import("./platform.mjs").Platform} Platform */
/** @typedef {import("./tokens.mjs").Token} Token */

/** How long a connection without subscriptions stays open, in milliseconds. */
const IDLE = 5000;

/** What servers that name no limit allow. */
const SUBSCRIPTIONS = 128;

export class Core {
  site;
  #connection;
  #platform;
  #tokens;

  /** By topic: what the server is asked for. @type {Map<string, Subscription>} */
  #subscriptions = new Map();

  /** @type {Listeners<ConnectionState>} */
  states = new Listeners();

  /** @type {any} */
  #idleTimer = null;
  #isFullReported = false;

  /**
   * @param {string} url
   * @param {Platform} platform
   */
  constructor(url, platform) {
    this.#platform = platform;
    this.site = new Site(url, platform);
    this.#connection = new Connection(url, platform, {
      state: (state) => this.#onState(state),
      frame: (frame) => this.#onFrame(frame),
      isWanted: () => this.#subscriptions.size > 0,
      diagnose: () => this.site.diagnose(),
    });
    this.#tokens = new Tokens(
      platform,
      this.site,
      () => this.#subscriptions.values(),
      () => this.state.state === "connected",
    );
  }

  /** The state of the connection. */
  get state() {
    return this.#connection.state;
  }

  /** Milliseconds since 1970 by the server's clock, as far as it is known. */
  get serverNow() {
    return this.#connection.serverNow;
  }

  /**
   * Returns the subscription of a topic, a new one if there is none.
   * @param {string} topic
   * @param {{token?: Token | undefined, limit?: number | undefined}} options
   */
  subscribe(topic, { token, limit }) {
    if (token != null && typeof token !== "string" && typeof token !== "function") {
      throw new TypeError("realtime: a token is a text, or a function that returns one");
    }
    const known = this.#subscriptions.get(topic);
    const subscription =
      known ??
      new Subscription(topic, {
        connection: this.#connection,
        platform: this.#platform,
        tokens: this.#tokens,
        onOver: (over) => this.#remove(over),
        onEnded: () => this.#giveWay(),
      });
    this.#subscriptions.set(topic, subscription);
    subscription.limit = limit ?? subscription.limit;
    if (token != null) subscription.setSource(token);
    this.#platform.clearTimeout(this.#idleTimer);
    // After the caller has its handle, which is told even if connecting fails at once.
    if (known === undefined) queueMicrotask(() => this.#start(subscription));
    return subscription;
  }

  /** Closes the connection if nothing is subscribed to. */
  closeIfIdle() {
    if (this.#subscriptions.size > 0) return;
    this.#platform.clearTimeout(this.#idleTimer);
    this.#connection.close("closed");
  }

  /** @param {Subscription} subscription */
  #start(subscription) {
    if (this.#subscriptions.get(subscription.topic) !== subscription) return;
    if (this.state.state === "connected") this.#admit();
    else this.#connection.open();
  }

  /**
   * Asks for as many subscriptions as the server allows. A task that has ended may run again, so
   * it is watched as long as no other one needs its place.
   */
  #admit() {
    const { subscriptions: most = SUBSCRIPTIONS } = this.#connection.welcome.limits ?? {};
    const all = [...this.#subscriptions.values()];
    let free = most - all.filter(({ isActive }) => isActive).length;
    const waiting = all.filter(({ isActive }) => !isActive);
    for (const subscription of waiting.filter(({ hasEnded }) => !hasEnded)) {
      if (free <= 0) {
        const ended = all.find(({ canYield }) => canYield);
        if (ended === undefined) {
          this.#reportFull(most);
          return;
        }
        ended.yield();
        free += 1;
      }
      free -= 1;
      subscription.ask();
    }
    for (const subscription of waiting.filter(({ hasEnded }) => hasEnded).slice(0, free)) {
      subscription.ask();
    }
  }

  /** A task has ended: another one may need its place. */
  #giveWay() {
    if (this.state.state === "connected") this.#admit();
  }

  /** @param {number} most */
  #reportFull(most) {
    if (this.#isFullReported) return;
    this.#isFullReported = true;
    this.#platform.warn(
      `realtime: the server allows ${most} subscriptions on a connection. Others wait until some ` +
        "have ended; close handles that you no longer need, or subscribe to a topic of many tasks.",
    );
  }

  /** @param {Subscription} subscription */
  #remove(subscription) {
    if (this.#subscriptions.get(subscription.topic) !== subscription) return;
    this.#subscriptions.delete(subscription.topic);
    const { state } = this.state;
    if (state === "connected") this.#admit();
    if (this.#subscriptions.size > 0 || state === "disconnected") return;
    const { setTimeout, clearTimeout } = this.#platform;
    clearTimeout(this.#idleTimer);
    this.#idleTimer = setTimeout(() => this.#connection.close(""), IDLE);
  }

  /** @param {ConnectionState} state */
  #onState(state) {
    const subscriptions = [...this.#subscriptions.values()];
    if (state.state !== "connected") for (const one of subscriptions) one.pause();
    else this.#admit();
    if (state.state === "disconnected") {
      this.#tokens.stop();
      this.#platform.clearTimeout(this.#idleTimer);
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
 * Returns the shared core for an address. The registry is the page's, not the module's: two
 * bundles on one page share a connection.
 * @param {string} url
 * @param {() => Platform} platform
 * @returns {Core}
 */
export function sharedCore(url, platform) {
  const place = /** @type {Record<symbol, Map<string, Core>>} */ (/** @type {any} */ (globalThis));
  const cores = (place[Symbol.for("realtime.1")] ??= new Map());
  let core = cores.get(url);
  if (core === undefined) {
    core = new Core(url, platform());
    cores.set(url, core);
  }
  return core;
}
