/**
 * Keeps frames to the rate that the server allows.
 */

/** @typedef {import("./platform.mjs").Platform} Platform */

/** Of the server's limit: frames that leave a second apart may arrive together. */
const SHARE = 0.8;

/** What servers that name no rate allow. */
const FRAMES_PER_SECOND = 10;
const FRAME_BURST = 50;

export class Pace {
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
   * Begins anew, on a connection with these limits.
   * @param {{frames_per_second?: number, frame_burst?: number}} limits
   */
  start({ frames_per_second = FRAMES_PER_SECOND, frame_burst = FRAME_BURST }) {
    this.#rate = SHARE * frames_per_second;
    this.#burst = Math.max(1, Math.floor(SHARE * frame_burst));
    this.#allowance = this.#burst;
    this.#countedAt = this.#platform.now();
  }

  /** Forgets what waits: the connection is gone. */
  clear() {
    this.#queue = [];
    this.#platform.clearTimeout(this.#timer);
    this.#timer = null;
  }

  /**
   * Sends when it is allowed, in order.
   * @param {string} text
   */
  push(text) {
    this.#queue.push(text);
    if (this.#timer === null) this.#flush();
  }

  /**
   * Sends now. The server counts the frame, so a later one waits.
   * @param {string} text
   */
  pushNow(text) {
    this.#earn();
    this.#allowance -= 1;
    this.#send(text);
  }

  #earn() {
    const now = this.#platform.now();
    const earned = ((now - this.#countedAt) / 1000) * this.#rate;
    this.#allowance = Math.min(this.#burst, this.#allowance + earned);
    this.#countedAt = now;
  }

  #flush() {
    this.#earn();
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
