/**
 * Sends frames at the rate that the server allows.
 */

/** @typedef {import("./platform.mjs").Platform} Platform */

/** The share of the server's limit to use: frames sent a second apart may arrive together. */
const SHARE = 0.8;

/** The limits of servers that name none. */
const FRAMES_PER_SECOND = 10;
const FRAME_BURST = 50;

export class RateLimiter {
  #platform;
  #send;

  /** @type {string[]} */
  #queue = [];
  #rate = SHARE * FRAMES_PER_SECOND;
  #burst = SHARE * FRAME_BURST;
  #allowance = 0;
  #countedAt = 0;
  /** @type {any} */
  #timer = null;

  /**
   * @param {Platform} platform
   * @param {(text: string) => void} send
   */
  constructor(platform, send) {
    this.#platform = platform;
    this.#send = send;
  }

  /**
   * Starts on a new connection, with the limits that its server named.
   * @param {{frames_per_second?: number, frame_burst?: number}} limits
   */
  start({ frames_per_second = FRAMES_PER_SECOND, frame_burst = FRAME_BURST }) {
    this.#rate = SHARE * frames_per_second;
    this.#burst = Math.max(1, Math.floor(SHARE * frame_burst));
    this.#allowance = this.#burst;
    this.#countedAt = this.#platform.now();
  }

  /** Drops the frames that wait, when the connection is lost. */
  clear() {
    this.#queue = [];
    this.#platform.clearTimeout(this.#timer);
    this.#timer = null;
  }

  /**
   * Sends a frame as soon as the limit allows, in order.
   * @param {string} text
   */
  push(text) {
    this.#queue.push(text);
    if (this.#timer === null) this.#flush();
  }

  /**
   * Sends a frame at once. It counts against the limit, so a later frame waits.
   * @param {string} text
   */
  pushNow(text) {
    this.#refill();
    this.#allowance -= 1;
    this.#send(text);
  }

  #refill() {
    const now = this.#platform.now();
    const refill = ((now - this.#countedAt) / 1000) * this.#rate;
    this.#allowance = Math.min(this.#burst, this.#allowance + refill);
    this.#countedAt = now;
  }

  #flush() {
    this.#refill();
    while (this.#allowance >= 1 && this.#queue.length > 0) {
      this.#allowance -= 1;
      this.#send(/** @type {string} */ (this.#queue.shift()));
    }
    if (this.#queue.length === 0) return;
    const wait = Math.ceil(((1 - this.#allowance) / this.#rate) * 1000);
    this.#timer = this.#platform.setTimeout(() => {
      this.#timer = null;
      this.#flush();
    }, wait);
  }
}
