/**
 * The talk with the server about one topic, for all the handles that share it.
 */

import { backoff } from "./connection.js";
import { RealtimeError } from "./errors.js";
import { Feed } from "./feed.js";
import { report } from "./listeners.js";

/** @typedef {import("./connection.js").Connection} Connection */
/** @typedef {import("./connection.js").Frame} Frame */
/** @typedef {import("./connection.js").Platform} Platform */
/** @typedef {import("./feed.js").Change} Change */

/**
 * A token, or a function that gets one: called for each subscribing and each coming back, so that
 * a token that has expired meanwhile is never sent.
 * @typedef {string | (() => string | null | undefined | Promise<string | null | undefined>)} Token
 */

/**
 * Whoever wants to know: `change` for each change, `over` once, when nothing more will come.
 * @typedef {{change: (change: Change) => void, over: (error: RealtimeError) => void}} Reader
 */

export class Subscription {
  /** @type {Token | undefined} */
  token = undefined;

  /** @type {Set<Reader>} */
  readers = new Set();

  #topic;
  #connection;
  #platform;
  #onOver;

  /** The id of the last `subscribe` on this connection; 0 when none was sent. */
  #askId = 0;
  /** A later asking, or the loss of the connection, makes the ones before void. */
  #round = 0;
  #stands = false;
  #refusals = 0;
  /** Why nothing more will come. @type {RealtimeError | null} */
  #error = null;
  /** @type {any} */
  #timer = null;

  /** @type {{promise: Promise<void>, resolve: () => void, reject: (e: Error) => void} | null} */
  #cancelling = null;
  #cancelId = 0;

  /**
   * @param {string} topic
   * @param {Connection} connection
   * @param {Platform} platform
   * @param {(subscription: Subscription) => void} onOver
   */
  constructor(topic, connection, platform, onOver) {
    this.#topic = topic;
    this.#connection = connection;
    this.#platform = platform;
    this.#onOver = onOver;
    this.feed = new Feed(topic);
  }

  /** Says whether all is known: nothing ever follows the success of a task. */
  get isSettled() {
    return this.feed.task?.state === "SUCCESS";
  }

  /** Subscribes, from where the feed stands. Only while connected. */
  async ask() {
    if (this.isSettled) return;
    const round = this.#newRound();
    let { token } = this;
    if (typeof token === "function") {
      try {
        token = (await token()) ?? undefined;
      } catch (error) {
        // Most often the network's, and the ending is still wanted: try again.
        report(error);
        if (round === this.#round) this.#askLater();
        return;
      }
      if (round !== this.#round) return;
    }
    const since = this.feed.position ?? undefined;
    this.#askId = this.#connection.send({ type: "subscribe", topic: this.#topic, since, token });
  }

  #askLater() {
    const wait = backoff(this.#refusals++, this.#platform.random);
    this.#timer = this.#platform.setTimeout(() => this.ask(), wait);
  }

  #newRound() {
    this.#platform.clearTimeout(this.#timer);
    return ++this.#round;
  }

  /** The connection is gone. */
  pause() {
    this.#newRound();
    this.#askId = 0;
    this.#cancelId = 0;
    this.#stands = false;
    this.feed.pause();
  }

  /** @param {Reader} reader */
  leave(reader) {
    if (!this.readers.delete(reader) || this.readers.size > 0) return;
    this.#unsubscribe();
    this.fail(new RealtimeError("closed", "The last handle of the topic was closed."));
  }

  #unsubscribe() {
    if (this.#askId > 0) this.#connection.send({ type: "unsubscribe", topic: this.#topic });
    this.pause();
  }

  /**
   * Gives up, and tells everybody why.
   * @param {RealtimeError} error
   */
  fail(error) {
    this.#error = error;
    this.pause();
    this.#onOver(this);
    this.#cancelling?.reject(error);
    this.#cancelling = null;
    const readers = [...this.readers];
    this.readers.clear();
    for (const reader of readers) reader.over(error);
  }

  /**
   * Asks the server to cancel the task; fulfilled when it has passed that on.
   * @returns {Promise<void>}
   */
  cancel() {
    if (this.isSettled) return Promise.resolve();
    if (this.#error !== null) return Promise.reject(this.#error);
    if (this.#cancelling === null) {
      let resolve = () => {};
      let reject = /** @param {Error} _error */ (_error) => {};
      /** @type {Promise<void>} */
      const promise = new Promise((...both) => {
        [resolve, reject] = both;
      });
      this.#cancelling = { promise, resolve, reject };
    }
    if (this.#stands && this.#cancelId === 0) this.#sendCancel();
    return this.#cancelling.promise;
  }

  #sendCancel() {
    const task_id = this.#topic.slice("task:".length);
    this.#cancelId = this.#connection.send({ type: "cancel", task_id });
  }

  /**
   * Takes any frame, and does what it says if it is for this subscription.
   * @param {Frame} frame
   */
  receive(frame) {
    if (frame.id > 0) this.#answer(frame);
    else if (frame.topic === this.#topic) this.#hear(frame);
  }

  /** @param {Frame} frame */
  #hear(frame) {
    switch (frame.type) {
      case "event":
        this.#apply(this.feed.event(/** @type {any} */ (frame)));
        break;
      case "snapshot":
        this.#apply(this.feed.snapshot(/** @type {any} */ (frame)));
        break;
      case "unsubscribed":
        this.fail(new RealtimeError(frame.code, frame.message));
        break;
    }
  }

  /** @param {Frame} frame */
  #answer(frame) {
    if (frame.id === this.#askId) {
      if (frame.type === "subscribed") this.#onSubscribed(frame);
      else if (frame.type === "error") this.#onRefused(frame);
    } else if (frame.id === this.#cancelId) {
      if (frame.type === "cancelled") this.#cancelling?.resolve();
      else this.#cancelling?.reject(new RealtimeError(frame.code, frame.message));
      this.#cancelling = null;
      this.#cancelId = 0;
    }
  }

  /** @param {Frame} frame */
  #onSubscribed(frame) {
    this.#refusals = 0;
    this.#stands = true;
    this.#apply(this.feed.subscribed(/** @type {any} */ (frame)));
    if (this.#stands && this.#cancelling !== null && this.#cancelId === 0) this.#sendCancel();
  }

  /** @param {Frame} frame */
  #onRefused(frame) {
    // The server's own trouble passes; every other refusal is an answer.
    if (frame.code === "internal") this.#askLater();
    else this.fail(new RealtimeError(frame.code, frame.message));
  }

  /** @param {Change} change */
  #apply(change) {
    if (this.isSettled) {
      this.#unsubscribe();
      this.#cancelling?.resolve();
      this.#cancelling = null;
    } else if (change.gap) {
      this.ask();
    }
    for (const reader of [...this.readers]) reader.change(change);
  }
}
