/** @typedef {import("./platform.mjs").Platform} Platform */
/** @typedef {import("./timer.mjs").Timer} Timer */

// Milliseconds.
/** How long the server may take to welcome, to answer a ping, or to close after `closing`. */
export const TIMEOUT = 10_000;
/** The same after the page or the machine has woken, when the connection is probably dead. */
export const WAKE_TIMEOUT = 3_000;
/** A timer this late slept with its machine. Tabs in the background are up to a minute late. */
const SLEEP = 90_000;

/** Finds out whether a connection is alive, by pings when nothing arrives. */
export class Heartbeat {
  #platform;
  #timer;
  #sendPing;
  #onDead;

  #interval = 0;
  #receivedAt = 0;
  #awaitsPong = false;

  /**
   * @param {Platform} platform
   * @param {Timer} timer
   * @param {() => void} sendPing
   * @param {(reason: string) => void} onDead
   */
  constructor(platform, timer, sendPing, onDead) {
    this.#platform = platform;
    this.#timer = timer;
    this.#sendPing = sendPing;
    this.#onDead = onDead;
  }

  /**
   * Starts on a connection that the server has welcomed.
   * @param {number} interval Milliseconds of silence before a ping.
   */
  start(interval) {
    this.#interval = interval;
    this.#schedule(interval);
  }

  /** A frame has arrived: the connection is alive. */
  onFrame() {
    this.#receivedAt = this.#platform.now();
    this.#awaitsPong = false;
  }

  /** Checks the connection now, after the page or the machine has woken. */
  check() {
    if (this.#awaitsPong) this.#timer.hasten(WAKE_TIMEOUT);
    else this.#ping(WAKE_TIMEOUT);
  }

  /** @param {number} timeout */
  #ping(timeout) {
    this.#awaitsPong = true;
    this.#sendPing();
    this.#schedule(timeout);
  }

  /** @param {number} wait */
  #schedule(wait) {
    const { now, wallClock } = this.#platform;
    const due = now() + wait;
    const wallDue = wallClock() + wait;
    this.#timer.set(wait, () => {
      const late = now() - due;
      const silence = now() - this.#receivedAt;
      if (late > SLEEP) {
        this.#onDead("was asleep");
      } else if (this.#awaitsPong) {
        this.#onDead("no answer");
      } else if (wallClock() - wallDue - late > SLEEP) {
        // The monotonic clock of some platforms stops with the machine. If the wall clock was set
        // instead, this costs one ping.
        this.#ping(WAKE_TIMEOUT);
      } else if (silence >= this.#interval) {
        this.#ping(TIMEOUT);
      } else {
        this.#schedule(this.#interval - silence);
      }
    });
  }
}
