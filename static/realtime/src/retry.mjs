/**
 * Whether a client connects again after a close, and when.
 */

/** Close codes. `ABNORMAL` is the browser's own: the connection ended without a close. */
export const ABNORMAL = 1006;
export const OVERLOADED = 1013;
export const SIGNED_OUT = 4501;
const RESTART = 1012;

// Milliseconds.
const FIRST_WAIT = 500;
const LONGEST_WAIT = 20_000;
const RESTART_WAIT = 15_000;

/**
 * Returns a wait with full jitter: random between 0 and the smaller of 20 s and 0.5 s × 2^attempt.
 * @param {number} attempt From 0.
 * @param {() => number} random
 */
export function backoff(attempt, random) {
  return random() * Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** attempt);
}

/**
 * Returns the wait that the server requires before the next attempt, in milliseconds; undefined if
 * it requires none.
 * @param {number} code The close code.
 * @param {unknown} retryAfter Seconds, if the server named a number.
 * @param {() => number} random
 */
export function requiredWait(code, retryAfter, random) {
  if (typeof retryAfter === "number") return (retryAfter + random()) * 1000;
  return code === RESTART ? random() * RESTART_WAIT : undefined;
}

/**
 * Returns whether a close code forbids the client to reconnect.
 * @param {number} code
 */
export function isFinal(code) {
  return code === 1000 || (code >= 4500 && code <= 4999);
}
