/**
 * The position of a subscriber in the log of a topic, and the one rule for the next event.
 *
 * The same rule, with the same table of cases (`tests/cases/position.json`), is
 * `realtime/core/position.py` on the server.
 */

/**
 * A place in a topic's log. `offset` rises by one per event; another `epoch` means that the
 * log was lost and counting began again.
 * @typedef {{epoch: string, offset: number}} Position
 */

/**
 * `deliver` it; `drop` it, since it is a duplicate; or `gap`: something is missing, recover first.
 * @typedef {"deliver" | "drop" | "gap"} Step
 */

/**
 * Decides what to do with an event.
 *
 * `merged` counts the offsets just before the event's own that the server left out on purpose,
 * since this event replaces them: such a frame stands for `offset - merged … offset`.
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
