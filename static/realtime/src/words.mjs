/**
 * A status in words. `realtime/web/translation.py` has the same words, and their translations.
 */

import { isTerminal } from "./feed.mjs";

/** @typedef {import("./feed.mjs").Status} Status */

/**
 * The texts for the states, by their names, and the other texts of `WORDS`.
 * @typedef {Record<string, string>} Words
 */

/**
 * What the element shows where neither the page's configuration nor the attribute `words` (a JSON
 * object) has another text.
 * @type {Words}
 */
export const WORDS = {
  PENDING: "waiting",
  RECEIVED: "received",
  RETRY: "waiting to be tried again",
  STALLED: "the worker does not answer",
  SUCCESS: "succeeded",
  FAILURE: "failed",
  REVOKED: "cancelled",
  LOST: "lost",
  running: "running",
  cancelling: "cancelling",
  gone: "not known any more",
  count: "{current} of {total}",
  progress: "Progress",
  offline: "not connected",
  delayed: "updates are delayed",
};

/**
 * A status in words.
 * @param {Pick<Status, "state" | "progress" | "error" | "cancelling">} status
 * @param {Words} [words]
 * @returns {string}
 */
export function describe(status, words = WORDS) {
  const { error, progress } = status;
  const word = wordOf(status, words);
  if (error) return `${word}: ${error.message || error.type}`;
  if (!progress || isTerminal(status)) return word;
  const { current, total, message } = progress;
  let count = current === null ? "" : `${current}`;
  if (current !== null && total !== null) {
    count = (words.count ?? "").replace("{current}", `${current}`).replace("{total}", `${total}`);
  }
  const details = [count, message].filter(Boolean).join(", ");
  return details ? `${word}: ${details}` : word;
}

/**
 * @param {Pick<Status, "state" | "cancelling">} status
 * @param {Words} words
 */
export function wordOf(status, words) {
  if (status.cancelling && !isTerminal(status)) return words.cancelling ?? "";
  // A task may call its states anything, `constructor` and `progress` too.
  const isKnown = /^[A-Z]/.test(status.state) && Object.hasOwn(words, status.state);
  return (isKnown ? words[status.state] : words.running) ?? "";
}
