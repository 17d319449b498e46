/**
 * Gets tokens and renews them before they expire, by the page's function or by the page's session.
 */

import { RealtimeError } from "./errors.mjs";
import { TOPICS_PER_TOKEN } from "./http.mjs";
import { report } from "./listeners.mjs";
import { backoff } from "./retry.mjs";
import { Timer } from "./timer.mjs";

/** @typedef {import("./http.mjs").Http} Http */
/** @typedef {import("./platform.mjs").Platform} Platform */
/** @typedef {import("./subscription.mjs").Subscription} Subscription */

/**
 * A token, or a function that returns one. The client calls a function for the first subscription
 * and then once per lifetime of the token; topics with the same function share what it returns.
 * @typedef {string | (() => string | null | undefined | Promise<string | null | undefined>)} Token
 */

/**
 * A token and its times, or no token. `serial` rises with each token that this page gets, from 0
 * for the page's first. `endsAt` and `renewAt` are on the monotonic clock, Infinity while unknown.
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

/** Tokens are renewed at a random time between these shares of their lifetime. */
const [EARLIEST, LATEST] = [0.5, 0.8];
/** How long a token function may take, in milliseconds. */
const TIMEOUT = 30_000;
/** The most characters of JSON for the topics of one token: each subscription sends all of them. */
const MAX_TOPICS_LENGTH = 8000;
/** The shortest wait before another attempt to renew, in milliseconds. */
const MIN_WAIT = 1000;

export class Tokens {
  #platform;
  #http;
  #subscriptions;
  #isConnected;

  #serial = 0;

  /** The newest token of each function. @type {WeakMap<Function, Credential>} */
  #returned = new WeakMap();
  /** Calls that have not returned yet. @type {Map<Function, Promise<Credential>>} */
  #calls = new Map();
  /** Requests that are not answered yet, by topic. @type {Map<string, Promise<void>>} */
  #requests = new Map();

  #failures = 0;
  #timer;
  #warned = "";

  /**
   * @param {Platform} platform
   * @param {Http} http
   * @param {() => Iterable<Subscription>} subscriptions
   * @param {() => boolean} isConnected
   */
  constructor(platform, http, subscriptions, isConnected) {
    this.#platform = platform;
    this.#http = http;
    this.#subscriptions = subscriptions;
    this.#isConnected = isConnected;
    this.#timer = new Timer(platform);
  }

  /**
   * Returns whether a subscription can get another token than the one it has.
   * @param {Subscription} subscription
   */
  canRenew({ source }) {
    return typeof source === "function" || this.#http.canRenew;
  }

  /**
   * Returns whether a token must be fetched before subscribing.
   * @param {Subscription} subscription
   */
  isNeeded(subscription) {
    const { source, credential } = subscription;
    if (credential.serial === 0 && isFunction(source)) return true;
    return credential.endsAt <= this.#platform.now() && this.canRenew(subscription);
  }

  /**
   * Gets a newer token for a subscription and for all others that the session can renew. Returns
   * false if the session may not see the topic. Rejects with a `RealtimeError` if the service
   * refuses to make tokens, and with any other error where another attempt may succeed.
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
   * Schedules the renewal, after a subscription was granted.
   * @param {Subscription} subscription
   * @param {unknown} expiresIn Seconds; anything else where the grant does not expire.
   */
  granted(subscription, expiresIn) {
    const { now, random } = this.#platform;
    const { credential } = subscription;
    if (typeof expiresIn !== "number") return;
    const lifetime = expiresIn * 1000;
    // One renewal per token: subscribing again with the same token does not schedule another.
    if (credential.endsAt === Infinity) {
      credential.renewAt = now() + lifetime * (EARLIEST + (LATEST - EARLIEST) * random());
    }
    credential.endsAt = now() + lifetime;
    this.#schedule();
  }

  /** Stops renewing, since nothing is subscribed to. */
  stop() {
    this.#timer.clear();
  }

  #schedule() {
    this.#timer.clear();
    const due = Math.min(...[...this.#subscriptions()].map((one) => one.credential.renewAt));
    if (due === Infinity) return;
    this.#timer.set(Math.max(0, due - this.#platform.now()), () => this.#renew());
  }

  /** Renews every token of the page when one of them is due. */
  async #renew() {
    // Without a connection this can wait: `isNeeded` renews expired tokens before subscribing.
    if (!this.#isConnected()) return;
    const due = [...this.#subscriptions()].filter((one) => one.credential.endsAt < Infinity);
    for (const { credential } of due) credential.renewAt = Infinity;
    const functions = new Set(due.map(({ source }) => source).filter((one) => isFunction(one)));
    const bySession = due.filter((one) => !isFunction(one.source) && this.canRenew(one));
    await Promise.all([
      ...[...functions].map((source) => {
        const users = due.filter((one) => one.source === source);
        return this.#tryRenewal(users, () => this.#renewByFunction(source, users));
      }),
      this.#tryRenewal(bySession, () => this.#request(bySession)),
    ]);
  }

  /**
   * @param {Subscription[]} subscriptions
   * @param {() => Promise<void>} renew
   */
  async #tryRenewal(subscriptions, renew) {
    if (subscriptions.length === 0) return;
    try {
      await renew();
      this.#failures = 0;
    } catch (error) {
      this.#warn(`tokens are not renewed: ${/** @type {Error} */ (error).message}`);
      // A refusal by the service is final until the tokens expire; other errors may pass.
      if (error instanceof RealtimeError) return;
      const wait = backoff(this.#failures++, this.#platform.random);
      const at = this.#platform.now() + Math.max(MIN_WAIT, wait);
      for (const { credential } of subscriptions) credential.renewAt = at;
    } finally {
      this.#schedule();
    }
  }

  /**
   * @param {Function} source
   * @param {Subscription[]} subscriptions
   */
  async #renewByFunction(source, subscriptions) {
    const newest = Math.max(...subscriptions.map(({ credential }) => credential.serial));
    const credential = await this.#call(source, newest);
    for (const subscription of subscriptions) {
      subscription.credential = credential;
      subscription.onRenewed();
    }
  }

  /**
   * Calls a token function, unless its last token is newer than the caller's.
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
      const error = new Error(`the token function gave no answer in ${TIMEOUT / 1000} s`);
      timer = setTimeout(() => reject(error), TIMEOUT);
    });
    try {
      const token = (await Promise.race([source(), late])) ?? undefined;
      if (token !== undefined && typeof token !== "string") {
        throw new TypeError("realtime: a token function must return a string or a promise");
      }
      const credential = credentialOf(token, ++this.#serial);
      this.#returned.set(source, credential);
      return credential;
    } catch (error) {
      report(error);
      // Another class than RealtimeError, which would be final: most often the network failed.
      throw new Error(String(error), { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Returns whether a subscription has a token that the session can renew.
   * @param {Subscription} subscription
   */
  #usesSession({ source, credential }) {
    return !isFunction(source) && credential.token !== undefined;
  }

  /**
   * Requests one token for the topics of all these subscriptions, or several if they are many.
   * @param {Subscription[]} subscriptions
   * @returns {Promise<void>}
   */
  async #request(subscriptions) {
    const batch = subscriptions.slice(0, countForOneToken(subscriptions));
    const request = this.#requestNow(batch).finally(() => {
      for (const { topic } of batch) this.#requests.delete(topic);
    });
    for (const { topic } of batch) this.#requests.set(topic, request);
    await request;
    if (batch.length < subscriptions.length) await this.#request(subscriptions.slice(batch.length));
  }

  /** @param {Subscription[]} subscriptions */
  async #requestNow(subscriptions) {
    const topics = subscriptions.map(({ topic }) => topic);
    const { token, refused } = await this.#http.requestToken(topics);
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
 * Returns how many of these subscriptions fit into one token.
 * @param {Subscription[]} subscriptions
 */
function countForOneToken(subscriptions) {
  let length = 0;
  const limit = subscriptions.slice(0, TOPICS_PER_TOKEN).findIndex(({ topic }) => {
    // JSON escapes each character outside ASCII by six characters.
    length += topic.replace(/[^ -~]/g, "......").length + 3;
    return length > MAX_TOPICS_LENGTH;
  });
  return limit === -1 ? TOPICS_PER_TOKEN : Math.max(1, limit);
}

/**
 * @param {unknown} source
 * @returns {source is Function}
 */
function isFunction(source) {
  return typeof source === "function";
}
