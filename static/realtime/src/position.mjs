/**
 * The position of a subscriber in the log of a topic, and the rule for the next event.
 *
 * `realtime/core/position.py` has the same rule for the server. `tests/cases/position.json` tests
 * both.
 */

/**
 * A place in a topic's log. `offset` rises by one with each event; another `epoch` means that the
 * log was lost and offsets began again.
 * @typedef {{epoch: string, offset: number}} Position
 */

/**
 * `deliver` the event; `drop` it as a duplicate; or `gap`: events are missing, recover first.
 * @typedef {"deliver" | "drop" | "gap"} Step
 */

/**
 * Decides what to do with an event.
 *
 * `merged` counts the events just before this one that the server left out, since this event
 * replaces them: the frame stands for the offsets `offset - merged … offset`.
 * @param {Position | null} last The last position; null before the first snapshot.
 * @param {Position} incoming
 * @param {number} [merged]
 * @returns {Step}
 */
export function step(last, incoming, merged = 0) {
  if (last === null || incoming.epoch !== last.epoch) return "gap";
  if (incoming.offset <= last.offset) return "drop";
  return incoming.offset - merged <= last.offset + 1 ? "deliver" : "gap";
}
