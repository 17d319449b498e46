/**
 * One topic's exchange with the server, for all the handles that share it.
 */

import { backoff } from "./connection.mjs";
import { RealtimeError } from "./errors.mjs";
import { Feed, isTerminal } from "./feed.mjs";
import { credentialOf } from "./tokens.mjs";

/** @typedef {import("./connection.mjs").Connection} Connection */
/** @typedef {import("./connection.mjs").Frame} Frame */
/** @typedef {import("./feed.mjs").Change} Change */
/** @typedef {import("./platform.mjs").Platform} Platform */
/** @typedef {import("./tokens.mjs").Credential} Credential */
/** @typedef {import("./tokens.mjs").Token} Token */
/** @typedef {import("./tokens.mjs").Tokens} Tokens */

/**
 * A handle's side: `change` is called for each change, `over` once, when nothing more will come.
 * @typedef {{change: (change: Change) => void, over: (error: RealtimeError) => void}} Reader
 */

/**
 * What a subscription needs of the client that it belongs to.
 * @typedef {object} Surroundings
 * @property {Connection} connection
 * @property {Platform} platform
 * @property {Tokens} tokens
 * @property {(subscription: Subscription) => void} onOver Nothing is to be asked for it any more.
 * @property {() => void} onEnded Its task has ended; it may run again.
 */

/** A request that is repeated on the next connection until it is answered. */
class Pending {
  /** The id of its frame on this connection; 0 when none was sent. */
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
  /** Where tokens come from. @type {Token | undefined} */
  source = undefined;

  /** The token to subscribe with. @type {Credential} */
  credential = credentialOf(undefined);

  /** Says whether the server was asked on this connection, or will be by a timer. */
  isActive = false;

  /** Statuses in the snapshot. @type {number | undefined} */
  limit = undefined;

  /** @type {Set<Reader>} */
  readers = new Set();

  topic;
  #connection;
  #platform;
  #tokens;
  #onOver;
  #onEnded;

  /** The id of the last `subscribe` on this connection; 0 when none was sent. */
  #askId = 0;
  /** What the server was shown last. @type {Credential | null} */
  #sent = null;
  /** A later request, or the loss of the connection, makes the ones before void. */
  #round = 0;
  /** The server has granted the subscription on this connection. */
  #isGranted = false;
  /** A newer token was got after a refusal: the next refusal is final. */
  #isLastTry = false;
  #failures = 0;
  /** Why nothing more will come. @type {RealtimeError | null} */
  #error = null;
  /** @type {any} */
  #timer = null;

  /** @type {Pending | null} */
  #cancelling = null;
  /** @type {Pending | null} */
  #paging = null;

  /**
   * @param {string} topic
   * @param {Surroundings} surroundings
   */
  constructor(topic, { connection, platform, tokens, onOver, onEnded }) {
    this.topic = topic;
    this.#connection = connection;
    this.#platform = platform;
    this.#tokens = tokens;
    this.#onOver = onOver;
    this.#onEnded = onEnded;
    this.feed = new Feed(topic);
  }

  /** Says whether all is known: nothing follows the success of a publication. */
  get isSettled() {
    return this.feed.task?.state === "SUCCESS";
  }

  /** Says whether the task has ended, as far as is known. */
  get hasEnded() {
    return this.feed.task !== null && isTerminal(this.feed.task);
  }

  /** Says whether another subscription may have this one's place. */
  get canYield() {
    return this.hasEnded && this.#isGranted && !this.#cancelling && !this.#paging;
  }

  /** Makes room for another subscription. */
  yield() {
    this.#unsubscribe();
  }

  /**
   * Sets where tokens come from. A token in the place of another one is sent at once.
   * @param {Token} source
   */
  setSource(source) {
    if (source === this.source) return;
    this.source = source;
    this.credential = credentialOf(typeof source === "string" ? source : undefined);
    if (this.#isGranted) this.ask();
  }

  /** Subscribes, from the feed's position. Only while connected. */
  async ask() {
    if (this.isSettled || this.#error !== null) return;
    const round = this.#newRound();
    this.isActive = true;
    if (this.#tokens.isNeeded(this)) {
      try {
        await this.#tokens.refresh(this);
      } catch (error) {
        // Refused for good: the session alone may do, and the server decides.
        if (!(error instanceof RealtimeError)) {
          if (round === this.#round) this.#later(() => this.ask());
          return;
        }
      }
      if (round !== this.#round) return;
    }
    this.#sent = this.credential;
    this.#askId = this.#connection.send({
      type: "subscribe",
      topic: this.topic,
      since: this.feed.position ?? undefined,
      token: this.credential.token,
      limit: this.limit,
    });
  }

  /** A newer token has arrived: extend what is granted. */
  onRenewed() {
    if (this.#isGranted) this.ask();
  }

  /**
   * @param {() => void} callback
   * @param {number} [wait] Milliseconds.
   */
  #later(callback, wait = backoff(this.#failures++, this.#platform.random)) {
    this.#timer = this.#platform.setTimeout(callback, wait);
  }

  #newRound() {
    this.#platform.clearTimeout(this.#timer);
    return ++this.#round;
  }

  /** The connection is gone. */
  pause() {
    this.#newRound();
    this.isActive = false;
    this.#isLastTry = false;
    this.#suspend();
  }

  /** Nothing is granted: what was requested under the grant is requested again under the next. */
  #suspend() {
    this.#askId = 0;
    this.#isGranted = false;
    for (const pending of [this.#cancelling, this.#paging]) if (pending) pending.id = 0;
    this.feed.pause();
  }

  /** @param {Reader} reader */
  leave(reader) {
    if (!this.readers.delete(reader) || this.readers.size > 0) return;
    this.#unsubscribe();
    this.fail(new RealtimeError("closed", "The last handle of the topic was closed."));
  }

  #unsubscribe() {
    if (this.#askId > 0) this.#connection.send({ type: "unsubscribe", topic: this.topic });
    this.pause();
  }

  /**
   * Gives up, and tells every handle why.
   * @param {RealtimeError} error
   */
  fail(error) {
    if (this.#error !== null) return;
    this.#error = error;
    this.pause();
    this.#onOver(this);
    this.#cancelling?.reject(error);
    this.#paging?.reject(error);
    this.#cancelling = this.#paging = null;
    const readers = [...this.readers];
    this.readers.clear();
    for (const reader of readers) reader.over(error);
  }

  /**
   * Asks the server to cancel the task; fulfilled when the request was passed on.
   * @returns {Promise<void>}
   */
  cancel() {
    if (this.isSettled || (this.hasEnded && !this.isActive)) return Promise.resolve();
    const task_id = this.topic.slice("task:".length);
    this.#cancelling ??= this.#begin({ type: "cancel", task_id });
    return this.#cancelling.promise;
  }

  /**
   * Requests the next page of the list; fulfilled when it has arrived.
   * @param {number} [limit]
   * @returns {Promise<void>}
   */
  more(limit) {
    if (this.feed.position !== null && this.feed.next === null) return Promise.resolve();
    const { topic, feed } = this;
    this.#paging ??= this.#begin(() => ({ type: "page", topic, after: feed.next, limit }));
    return this.#paging.promise;
  }

  /** @param {Frame | (() => Frame)} frame */
  #begin(frame) {
    const pending = new Pending(typeof frame === "function" ? frame : () => frame);
    if (this.#error !== null) pending.reject(this.#error);
    else if (this.#isGranted) pending.id = this.#connection.send(pending.frame());
    return pending;
  }

  /** Sends what waited for the subscription. */
  #resume() {
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
   * Processes an answer, if it is to a frame of this subscription.
   * @param {Frame} frame
   */
  onAnswer(frame) {
    if (frame.id === this.#askId) {
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
    this.#isLastTry = false;
    this.#tokens.granted(this, frame.expires_in);
    this.#apply(this.feed.subscribed(/** @type {any} */ (frame)));
    if (this.#isGranted) this.#resume();
  }

  /** @param {RealtimeError} error */
  #onRefused(error) {
    const { code, retryAfter } = error;
    this.#askId = 0;
    this.#isGranted = false;
    if (code === "limit" && retryAfter !== null) {
      this.#later(() => this.ask(), (retryAfter + this.#platform.random()) * 1000);
    } else if (code === "internal") {
      // The server's own trouble passes; every other refusal is an answer.
      this.#later(() => this.ask());
    } else if (code === "unauthorized") {
      this.#authorise(error);
    } else {
      this.fail(error);
    }
  }

  /**
   * The server has ended the subscription.
   * @param {RealtimeError} error
   */
  #onWithdrawn(error) {
    this.#suspend();
    if (error.code === "unauthorized") this.#authorise(error);
    else this.fail(error);
  }

  /**
   * Subscribes once more with a newer token, if one can be got.
   * @param {RealtimeError} error
   */
  async #authorise(error) {
    if (this.#isLastTry || !this.#tokens.canRenew(this)) {
      this.fail(error);
      return;
    }
    const round = this.#newRound();
    this.#isLastTry = true;
    // A newer token may have arrived since, for another topic of the page.
    let isRenewed = this.credential !== this.#sent;
    let { message } = error;
    try {
      isRenewed ||= await this.#tokens.refresh(this);
    } catch (failure) {
      if (round !== this.#round) return;
      if (!(failure instanceof RealtimeError)) {
        this.#isLastTry = false;
        this.#later(() => this.#authorise(error));
        return;
      }
      message += ` (${failure.message})`;
    }
    if (round !== this.#round) return;
    if (isRenewed) this.ask();
    else this.fail(new RealtimeError(error.code, message));
  }

  /** @param {Change} change */
  #apply(change) {
    if (this.isSettled) {
      this.#unsubscribe();
      this.#cancelling?.resolve();
      this.#cancelling = null;
      // A handle that is made from now on asks anew: the id may have been published again.
      this.#onOver(this);
    } else if (change.gap) {
      this.ask();
    }
    for (const reader of [...this.readers]) reader.change(change);
    if (this.hasEnded && !this.isSettled) this.#onEnded();
  }
}

/**
 * @param {Frame} frame
 * @returns {RealtimeError}
 */
function errorOf({ code, message, retry_after = null }) {
  return new RealtimeError(code, message, retry_after);
}
