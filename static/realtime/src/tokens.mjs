/**
 * Gets tokens and renews them before they end: by the page's function, or by the page's session.
 */

import { backoff } from "./connection.mjs";
import { RealtimeError } from "./errors.mjs";
import { report } from "./listeners.mjs";
import { TOPICS_PER_TOKEN } from "./site.mjs";

/** @typedef {import("./platform.mjs").Platform} Platform */
/** @typedef {import("./site.mjs").Site} Site */
/** @typedef {import("./subscription.mjs").Subscription} Subscription */

/**
 * A token, or a function that gets one. A function is called for the first subscription and then
 * once per term of the token; topics with the same function share what it returns.
 * @typedef {string | (() => string | null | undefined | Promise<string | null | undefined>)} Token
 */

/**
 * A token as it was received, or none. `serial` rises with each token that this page gets, from 0
 * for what it began with. `endsAt` and `renewAt` are on the monotonic clock, Infinity while unknown.
 * @typedef {object} Credential
 * @property {string | undefined} token
 * @property {number} serial
 * @property {number} endsAt
 * @property {number} renewAt
 */

/**
 * @param {string | undefined} token
 * @param {number} [serial]
 * @returns {Credential}
 */
export function credentialOf(token, serial = 0) {
  return { token, serial, endsAt: Infinity, renewAt: Infinity };
}

/** Tokens are renewed at a random time between these shares of their term. */
const [EARLIEST, LATEST] = [0.5, 0.8];
/** How long a token function may take, in milliseconds. */
const PATIENCE = 30_000;
/** Characters of JSON that the topics of one token may have: each subscription sends it whole. */
const TOPICS_LENGTH = 8000;
/** The shortest wait before renewing is tried again, in milliseconds. */
const SHORTEST_WAIT = 1000;

export class Tokens {
  #platform;
  #site;
  #subscriptions;
  #isConnected;

  #serial = 0;

  /** What each function returned last. @type {WeakMap<Function, Credential>} */
  #returned = new WeakMap();
  /** Calls that are not answered yet. @type {Map<Function, Promise<Credential>>} */
  #calls = new Map();
  /** Requests that are not answered yet, by topic. @type {Map<string, Promise<void>>} */
  #requests = new Map();

  #failures = 0;
  /** @type {any} */
  #timer = null;
  #warned = "";

  /**
   * @param {Platform} platform
   * @param {Site} site
   * @param {() => Iterable<Subscription>} subscriptions
   * @param {() => boolean} isConnected
   */
  constructor(platform, site, subscriptions, isConnected) {
    this.#platform = platform;
    this.#site = site;
    this.#subscriptions = subscriptions;
    this.#isConnected = isConnected;
  }

  /**
   * Says whether a subscription can get another token than the one it has.
   * @param {Subscription} subscription
   */
  canRenew({ source }) {
    return typeof source === "function" || this.#site.canRenew;
  }

  /**
   * Says whether a token must be got before subscribing.
   * @param {Subscription} subscription
   */
  isNeeded(subscription) {
    const { source, credential } = subscription;
    if (credential.serial === 0 && isFunction(source)) return true;
    return credential.endsAt <= this.#platform.now() && this.canRenew(subscription);
  }

  /**
   * Gets a newer token for a subscription, and for all others that need one soon. Returns false if
   * the session does not open the topic. Rejects with a `RealtimeError` if the service refuses to
   * make tokens, with anything else where trying again may help.
   * @param {Subscription} subscription
   * @returns {Promise<boolean>}
   */
  async refresh(subscription) {
    const { source } = subscription;
    const { serial } = subscription.credential;
    if (isFunction(source)) {
      subscription.credential = await this.#call(source, serial);
      return true;
    }
    let request = this.#requests.get(subscription.topic);
    if (request === undefined) {
      const others = [...this.#subscriptions()].filter((other) => this.#usesSession(other));
      request = this.#request([...new Set([subscription, ...others])]);
    }
    await request;
    return subscription.credential.serial > serial;
  }

  /**
   * Plans the renewal, after a subscription was granted.
   * @param {Subscription} subscription
   * @param {unknown} expiresIn Seconds; anything else where the permission does not end by itself.
   */
  granted(subscription, expiresIn) {
    const { now, random } = this.#platform;
    const { credential } = subscription;
    if (typeof expiresIn !== "number") return;
    const term = expiresIn * 1000;
    // Coming back with the same token changes nothing: one renewal per token.
    if (credential.endsAt === Infinity) {
      credential.renewAt = now() + term * (EARLIEST + (LATEST - EARLIEST) * random());
    }
    credential.endsAt = now() + term;
    this.#schedule();
  }

  /** Stops renewing: nothing is subscribed to. */
  stop() {
    this.#platform.clearTimeout(this.#timer);
  }

  #schedule() {
    const { now, setTimeout, clearTimeout } = this.#platform;
    clearTimeout(this.#timer);
    const due = Math.min(...[...this.#subscriptions()].map((one) => one.credential.renewAt));
    if (due === Infinity) return;
    this.#timer = setTimeout(() => this.#renew(), Math.max(0, due - now()));
  }

  /** Renews every token of the connection, since one of them is due. */
  async #renew() {
    // Without a connection there is no hurry: what has ended is renewed before subscribing.
    if (!this.#isConnected()) return;
    const due = [...this.#subscriptions()].filter((one) => one.credential.endsAt < Infinity);
    for (const { credential } of due) credential.renewAt = Infinity;
    const functions = new Set(due.map(({ source }) => source).filter((one) => isFunction(one)));
    const bySession = due.filter((one) => !isFunction(one.source) && this.canRenew(one));
    await Promise.all([
      ...[...functions].map((source) => {
        const those = due.filter((one) => one.source === source);
        return this.#attempt(those, () => this.#recall(source, those));
      }),
      this.#attempt(bySession, () => this.#request(bySession)),
    ]);
  }

  /**
   * @param {Subscription[]} subscriptions
   * @param {() => Promise<void>} renew
   */
  async #attempt(subscriptions, renew) {
    if (subscriptions.length === 0) return;
    try {
      await renew();
      this.#failures = 0;
    } catch (error) {
      this.#warn(`tokens are not renewed: ${/** @type {Error} */ (error).message}`);
      // The service's refusal is its answer until the tokens end; all else may pass.
      if (error instanceof RealtimeError) return;
      const wait = backoff(this.#failures++, this.#platform.random);
      const at = this.#platform.now() + Math.max(SHORTEST_WAIT, wait);
      for (const { credential } of subscriptions) credential.renewAt = at;
    } finally {
      this.#schedule();
    }
  }

  /**
   * @param {Function} source
   * @param {Subscription[]} subscriptions
   */
  async #recall(source, subscriptions) {
    const newest = Math.max(...subscriptions.map(({ credential }) => credential.serial));
    const credential = await this.#call(source, newest);
    for (const subscription of subscriptions) {
      subscription.credential = credential;
      subscription.onRenewed();
    }
  }

  /**
   * Calls a token function, unless its last answer is newer than what the caller has.
   * @param {Function} source
   * @param {number} serial
   * @returns {Promise<Credential>}
   */
  #call(source, serial) {
    const known = this.#returned.get(source);
    if (known !== undefined && known.serial > serial && known.endsAt > this.#platform.now()) {
      return Promise.resolve(known);
    }
    let call = this.#calls.get(source);
    if (call === undefined) {
      call = this.#callNow(source).finally(() => this.#calls.delete(source));
      this.#calls.set(source, call);
    }
    return call;
  }

  /**
   * @param {Function} source
   * @returns {Promise<Credential>}
   */
  async #callNow(source) {
    const { setTimeout, clearTimeout } = this.#platform;
    /** @type {any} */
    let timer = null;
    const late = new Promise((_, reject) => {
      const error = new Error(`the token function gave no answer in ${PATIENCE / 1000} s`);
      timer = setTimeout(() => reject(error), PATIENCE);
    });
    try {
      const token = (await Promise.race([source(), late])) ?? undefined;
      if (token !== undefined && typeof token !== "string") {
        throw new TypeError("realtime: a token function must return a text, or a promise of one");
      }
      const credential = credentialOf(token, ++this.#serial);
      this.#returned.set(source, credential);
      return credential;
    } catch (error) {
      report(error);
      // Most often it is the network's error: never the service's last answer.
      throw new Error(String(error), { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Says whether a subscription has a token that the session can renew.
   * @param {Subscription} subscription
   */
  #usesSession({ source, credential }) {
    return !isFunction(source) && credential.token !== undefined;
  }

  /**
   * Asks the service for one token that opens the topics of all these subscriptions.
   * @param {Subscription[]} subscriptions
   * @returns {Promise<void>}
   */
  async #request(subscriptions) {
    const asked = subscriptions.slice(0, countOfOneToken(subscriptions));
    const request = this.#requestNow(asked).finally(() => {
      for (const { topic } of asked) this.#requests.delete(topic);
    });
    for (const { topic } of asked) this.#requests.set(topic, request);
    await request;
    if (asked.length < subscriptions.length) await this.#request(subscriptions.slice(asked.length));
  }

  /** @param {Subscription[]} subscriptions */
  async #requestNow(subscriptions) {
    const topics = subscriptions.map(({ topic }) => topic);
    const { token, refused } = await this.#site.requestToken(topics);
    if (token === "") return;
    const credential = credentialOf(token, ++this.#serial);
    for (const subscription of subscriptions) {
      if (refused.has(subscription.topic)) continue;
      subscription.credential = credential;
      subscription.onRenewed();
    }
  }

  /** @param {string} text */
  #warn(text) {
    if (text === this.#warned) return;
    this.#warned = text;
    this.#platform.warn(`realtime: ${text}`);
  }
}

/**
 * Says how many of these topics one token may name.
 * @param {Subscription[]} subscriptions
 */
function countOfOneToken(subscriptions) {
  let length = 0;
  const most = subscriptions.slice(0, TOPICS_PER_TOKEN).findIndex(({ topic }) => {
    // The token holds each character outside ASCII by its number, in six.
    length += topic.replace(/[^ -~]/g, "......").length + 3;
    return length > TOPICS_LENGTH;
  });
  return most === -1 ? TOPICS_PER_TOKEN : Math.max(1, most);
}

/**
 * @param {unknown} source
 * @returns {source is Function}
 */
function isFunction(source) {
  return typeof source === "function";
}
