/** @typedef {import("./platform.mjs").Platform} Platform */

/** One callback at a time, on the platform's clock. */
export class Timer {
  #platform;
  /** @type {any} */
  #id = null;
  /** @type {(() => void) | null} */
  #callback = null;
  #due = 0;

  /** @param {Platform} platform */
  constructor(platform) {
    this.#platform = platform;
  }

  /**
   * Schedules a callback, in place of the one that is scheduled.
   * @param {number} wait Milliseconds.
   * @param {() => void} callback
   */
  set(wait, callback) {
    const { now, setTimeout } = this.#platform;
    this.clear();
    this.#callback = callback;
    this.#due = now() + wait;
    this.#id = setTimeout(() => {
      this.#callback = null;
      callback();
    }, wait);
  }

  /** Cancels the callback, if one is scheduled. */
  clear() {
    this.#platform.clearTimeout(this.#id);
    this.#callback = null;
  }

  /**
   * Runs the scheduled callback after this wait, if it would run later.
   * @param {number} wait Milliseconds.
   */
  hasten(wait) {
    if (this.#callback !== null && this.#platform.now() + wait < this.#due) {
      this.set(wait, this.#callback);
    }
  }
}
