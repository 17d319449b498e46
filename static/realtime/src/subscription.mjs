/**
 * The subscription to one topic, for all handles that share it.
 */

import { RealtimeError } from "./errors.mjs";
import { Feed, isTerminal } from "./feed.mjs";
import { backoff } from "./retry.mjs";
import { Timer } from "./timer.mjs";
import { credentialOf } from "./tokens.mjs";

/** @typedef {import("./connection.mjs").Connection} Connection */
/** @typedef {import("./connection.mjs").Frame} Frame */
/** @typedef {import("./feed.mjs").Update} Update */
/** @typedef {import("./platform.mjs").Platform} Platform */
/** @typedef {import("./tokens.mjs").Credential} Credential */
/** @typedef {import("./tokens.mjs").Token} Token */
/** @typedef {import("./tokens.mjs").Tokens} Tokens */

/**
 * A handle's callbacks: `update` for each update; `error` once, when the subscription has ended.
 * @typedef {{update: (update: Update) => void, error: (error: RealtimeError) => void}} Reader
 */

/**
 * What a subscription uses of its hub.
 * @typedef {object} Context
 * @property {Connection} connection
 * @property {Platform} platform
 * @property {Tokens} tokens
 * @property {(subscription: Subscription) => void} onClosed It has ended for good.
 * @property {() => void} onTaskEnded Its task has ended; it may run again.
 */

/** A request that is sent on each new connection until the server answers it. */
class Pending {
  /** The id of its frame on this connection; 0 before one is sent. */
  id = 0;
  /** @type {() => void} */
  resolve = () => {};
  /** @type {(error: Error) => void} */
  reject = () => {};

  /** @param {() => Frame} frame */
  constructor(frame) {
    this.frame = frame;
    /** @type {Promise<void>} */
    this.promise = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
  }
}

export class Subscription {
  /** The page's token, or its function for tokens. @type {Token | undefined} */
  source = undefined;

  /** The token to subscribe with. @type {Credential} */
  credential = credentialOf(undefined);

  /** Whether `subscribe` was sent on this connection, or waits for a token or a timer. */
  isActive = false;

  /** Statuses in the snapshot. @type {number | undefined} */
  limit = undefined;

  /** @type {Set<Reader>} */
  readers = new Set();

  topic;
  #connection;
  #platform;
  #tokens;
  #onClosed;
  #onTaskEnded;

  /** The id of the last `subscribe` on this connection; 0 before one is sent. */
  #requestId = 0;
  /** The credential of the last `subscribe`. @type {Credential | null} */
  #sent = null;
  /** The number of the current request; a request that finds another number gives up. */
  #round = 0;
  /** The server has granted the subscription on this connection. */
  #isGranted = false;
  /** The token was renewed after a refusal: the next refusal is final. */
  #isFinalAttempt = false;
  #failures = 0;
  /** Why the subscription has ended. @type {RealtimeError | null} */
  #error = null;
  #timer;

  /** @type {Pending | null} */
  #cancelling = null;
  /** @type {Pending | null} */
  #paging = null;

  /**
   * @param {string} topic
   * @param {Context} context
   */
  constructor(topic, { connection, platform, tokens, onClosed, onTaskEnded }) {
    this.topic = topic;
    this.#connection = connection;
    this.#platform = platform;
    this.#tokens = tokens;
    this.#onClosed = onClosed;
    this.#onTaskEnded = onTaskEnded;
    this.#timer = new Timer(platform);
    this.feed = new Feed(topic);
  }

  /** Whether the task has succeeded: then no other status follows. */
  get hasSucceeded() {
    return this.feed.task?.state === "SUCCESS";
  }

  /** Whether the newest known status is an ending. */
  get hasEnded() {
    return this.feed.task !== null && isTerminal(this.feed.task);
  }

  /** Whether another subscription may use this one's slot. */
  get isReplaceable() {
    return this.hasEnded && this.#isGranted && !this.#cancelling && !this.#paging;
  }

  /** Frees the slot for another subscription. */
  release() {
    this.#unsubscribe();
  }

  /**
   * Sets the token, or the function for tokens. A token that replaces another one is sent at once.
   * @param {Token} source
   */
  setSource(source) {
    if (source === this.source) return;
    this.source = source;
    this.credential = credentialOf(typeof source === "string" ? source : undefined);
    if (this.#isGranted) this.request();
  }

  /** Subscribes from the feed's position. Only while connected. */
  async request() {
    if (this.hasSucceeded || this.#error !== null) return;
    const round = this.#newRound();
    this.isActive = true;
    if (this.#tokens.isNeeded(this)) {
      try {
        await this.#tokens.refresh(this);
      } catch (error) {
        // After the service's refusal the session alone may suffice: the server decides.
        if (!(error instanceof RealtimeError)) {
          if (round === this.#round) this.#retryLater(() => this.request());
          return;
        }
      }
      if (round !== this.#round) return;
    }
    this.#sent = this.credential;
    this.#requestId = this.#connection.send({
      type: "subscribe",
      topic: this.topic,
      since: this.feed.position ?? undefined,
      token: this.credential.token,
      limit: this.limit,
    });
  }

  /** The token was renewed: extend the grant. */
  onRenewed() {
    if (this.#isGranted) this.request();
  }

  /**
   * @param {() => void} callback
   * @param {number} [wait] Milliseconds.
   */
  #retryLater(callback, wait = backoff(this.#failures++, this.#platform.random)) {
    this.#timer.set(wait, callback);
  }

  #newRound() {
    this.#timer.clear();
    return ++this.#round;
  }

  /** Ends the grant until the next `request`, when the connection is lost or not needed. */
  pause() {
    this.#newRound();
    this.isActive = false;
    this.#isFinalAttempt = false;
    this.#endGrant();
  }

  /** Ends the grant. Pending requests are sent again under the next one. */
  #endGrant() {
    this.#requestId = 0;
    this.#isGranted = false;
    for (const pending of [this.#cancelling, this.#paging]) if (pending) pending.id = 0;
    this.feed.pause();
  }

  /** @param {Reader} reader */
  removeReader(reader) {
    if (!this.readers.delete(reader) || this.readers.size > 0) return;
    this.#unsubscribe();
    this.fail(new RealtimeError("closed", "The last handle of the topic was closed."));
  }

  #unsubscribe() {
    if (this.#requestId > 0) this.#connection.send({ type: "unsubscribe", topic: this.topic });
    this.pause();
  }

  /**
   * Ends the subscription, and reports the error to every handle.
   * @param {RealtimeError} error
   */
  fail(error) {
    if (this.#error !== null) return;
    this.#error = error;
    this.pause();
    this.#onClosed(this);
    this.#cancelling?.reject(error);
    this.#paging?.reject(error);
    this.#cancelling = this.#paging = null;
    const readers = [...this.readers];
    this.readers.clear();
    for (const reader of readers) reader.error(error);
  }

  /**
   * Requests the cancellation of the task; fulfilled when the server has passed the request on.
   * @returns {Promise<void>}
   */
  cancel() {
    if (this.hasSucceeded || (this.hasEnded && !this.isActive)) return Promise.resolve();
    const task_id = this.topic.slice("task:".length);
    this.#cancelling ??= this.#start({ type: "cancel", task_id });
    return this.#cancelling.promise;
  }

  /**
   * Requests the next page of the list; fulfilled when the page has arrived.
   * @param {number} [limit]
   * @returns {Promise<void>}
   */
  more(limit) {
    if (this.feed.position !== null && this.feed.next === null) return Promise.resolve();
    const { topic, feed } = this;
    this.#paging ??= this.#start(() => ({ type: "page", topic, after: feed.next, limit }));
    return this.#paging.promise;
  }

  /** @param {Frame | (() => Frame)} frame */
  #start(frame) {
    const pending = new Pending(typeof frame === "function" ? frame : () => frame);
    if (this.#error !== null) pending.reject(this.#error);
    else if (this.#isGranted) pending.id = this.#connection.send(pending.frame());
    return pending;
  }

  /** Sends the requests that waited for the grant. */
  #sendPending() {
    for (const pending of [this.#cancelling, this.#paging]) {
      if (pending?.id === 0) pending.id = this.#connection.send(pending.frame());
    }
  }

  /**
   * Processes a frame of this topic.
   * @param {Frame} frame
   */
  onFrame(frame) {
    switch (frame.type) {
      case "event":
        this.#apply(this.feed.event(/** @type {any} */ (frame)));
        break;
      case "snapshot":
        this.#apply(this.feed.snapshot(/** @type {any} */ (frame)));
        break;
      case "unsubscribed":
        this.#onWithdrawn(new RealtimeError(frame.code, frame.message));
        break;
    }
  }

  /**
   * Processes an answer, if it answers a frame of this subscription.
   * @param {Frame} frame
   */
  onAnswer(frame) {
    if (frame.id === this.#requestId) {
      if (frame.type === "subscribed") this.#onSubscribed(frame);
      else if (frame.type === "error") this.#onRefused(errorOf(frame));
    } else if (frame.id === this.#cancelling?.id) {
      if (frame.type === "cancelled") this.#cancelling?.resolve();
      else this.#cancelling?.reject(errorOf(frame));
      this.#cancelling = null;
    } else if (frame.id === this.#paging?.id) {
      const paging = this.#paging;
      this.#paging = null;
      if (frame.type === "page") this.#apply(this.feed.page(/** @type {any} */ (frame)));
      if (frame.type === "page") paging?.resolve();
      else paging?.reject(errorOf(frame));
    }
  }

  /** @param {Frame} frame */
  #onSubscribed(frame) {
    this.#failures = 0;
    this.#isGranted = true;
    this.#isFinalAttempt = false;
    this.#tokens.granted(this, frame.expires_in);
    this.#apply(this.feed.subscribed(/** @type {any} */ (frame)));
    if (this.#isGranted) this.#sendPending();
  }

  /** @param {RealtimeError} error */
  #onRefused(error) {
    const { code, retryAfter } = error;
    this.#requestId = 0;
    this.#isGranted = false;
    if (code === "limit" && retryAfter !== null) {
      this.#retryLater(() => this.request(), (retryAfter + this.#platform.random()) * 1000);
    } else if (code === "internal") {
      // The server failed: try again. Every other refusal is final.
      this.#retryLater(() => this.request());
    } else if (code === "unauthorized") {
      this.#renewAndRequest(error);
    } else {
      this.fail(error);
    }
  }

  /**
   * The server has ended the subscription.
   * @param {RealtimeError} error
   */
  #onWithdrawn(error) {
    this.#endGrant();
    if (error.code === "unauthorized") this.#renewAndRequest(error);
    else this.fail(error);
  }

  /**
   * Renews the token and subscribes once more; fails if the token cannot be renewed.
   * @param {RealtimeError} error
   */
  async #renewAndRequest(error) {
    if (this.#isFinalAttempt || !this.#tokens.canRenew(this)) {
      this.fail(error);
      return;
    }
    const round = this.#newRound();
    this.#isFinalAttempt = true;
    // The token may have been renewed meanwhile, for another topic of the page.
    let isRenewed = this.credential !== this.#sent;
    let { message } = error;
    try {
      isRenewed ||= await this.#tokens.refresh(this);
    } catch (failure) {
      if (round !== this.#round) return;
      if (!(failure instanceof RealtimeError)) {
        this.#isFinalAttempt = false;
        this.#retryLater(() => this.#renewAndRequest(error));
        return;
      }
      message += ` (${failure.message})`;
    }
    if (round !== this.#round) return;
    if (isRenewed) this.request();
    else this.fail(new RealtimeError(error.code, message));
  }

  /** @param {Update} update */
  #apply(update) {
    if (this.hasSucceeded) {
      this.#unsubscribe();
      this.#cancelling?.resolve();
      this.#cancelling = null;
      // A later handle gets a new subscription, since the id may have been published again.
      this.#onClosed(this);
    } else if (update.gap) {
      this.request();
    }
    for (const reader of [...this.readers]) reader.update(update);
    if (this.hasEnded && !this.hasSucceeded) this.#onTaskEnded();
  }
}

/**
 * @param {Frame} frame
 * @returns {RealtimeError}
 */
function errorOf({ code, message, retry_after = null }) {
  return new RealtimeError(code, message, retry_after);
}
