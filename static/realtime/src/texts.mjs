/**
 * The texts that describe a status. `realtime/web/translation.py` has the same texts, and their
 * translations.
 */

import { isTerminal } from "./feed.mjs";

/** @typedef {import("./feed.mjs").Status} Status */

/**
 * A text for each state, by the state's name, and the other texts of `TEXTS`.
 * @typedef {Record<string, string>} Texts
 */

/**
 * The element's texts. The page's configuration and the attribute `texts` (a JSON object) override
 * them.
 * @type {Texts}
 */
export const TEXTS = {
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
 * Describes a status in one line: its state, progress and error.
 * @param {Pick<Status, "state" | "progress" | "error" | "cancelling">} status
 * @param {Texts} [texts]
 * @returns {string}
 */
export function describe(status, texts = TEXTS) {
  const { error, progress } = status;
  const state = stateText(status, texts);
  if (error) return `${state}: ${error.message || error.type}`;
  if (!progress || isTerminal(status)) return state;
  const { current, total, message } = progress;
  let count = current === null ? "" : `${current}`;
  if (current !== null && total !== null) {
    count = (texts.count ?? "").replace("{current}", `${current}`).replace("{total}", `${total}`);
  }
  const details = [count, message].filter(Boolean).join(", ");
  return details ? `${state}: ${details}` : state;
}

/**
 * Returns the text for the state of a status.
 * @param {Pick<Status, "state" | "cancelling">} status
 * @param {Texts} texts
 */
export function stateText(status, texts) {
  if (status.cancelling && !isTerminal(status)) return texts.cancelling ?? "";
  // A task chooses the names of its own states, `constructor` and `progress` included.
  const isKnown = /^[A-Z]/.test(status.state) && Object.hasOwn(texts, status.state);
  return (isKnown ? texts[status.state] : texts.running) ?? "";
}
