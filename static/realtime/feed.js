/**
 * What a client knows of one topic, and what of it is news. No network here: frames go in,
 * and what is to be called back comes out.
 */

import { step } from "./position.js";

/** @typedef {import("./position.js").Position} Position */

/**
 * The whole picture of one task at one moment; every key is always there.
 *
 * `state` is Celery's word (`PENDING`, `RECEIVED`, `STARTED`, `PROGRESS` or a name of the task's
 * own, `RETRY`, `STALLED`, `SUCCESS`, `FAILURE`, `REVOKED`, `LOST`). Times are ISO 8601 text in
 * UTC: for showing, never for ordering.
 * @typedef {object} Status
 * @property {string} task_id
 * @property {string} name
 * @property {string} state
 * @property {number} version Rises by one with each accepted change.
 * @property {number} run Counts deliveries to a worker.
 * @property {number} attempt Counts retries.
 * @property {Progress | null} progress
 * @property {unknown} result
 * @property {boolean} truncated The result was too large, or is nothing that JSON can say.
 * @property {{type: string, message: string} | null} error
 * @property {string | null} eta
 * @property {string | null} retry_at
 * @property {boolean} cancelling
 * @property {string | null} root_id
 * @property {string | null} parent_id
 * @property {string | null} group_id
 * @property {string | null} published_at
 * @property {string | null} started_at
 * @property {string | null} finished_at
 * @property {string | null} updated_at
 */

/** @typedef {{current: number, total: number | null, message: string | null}} Progress */

/** @typedef {{epoch: string, offset: number, merged?: number, status: Status}} EventFrame */
/** @typedef {{epoch: string, offset: number, snapshot: Status[]}} SnapshotFrame */

/**
 * @typedef {{epoch: string, offset: number, recovered: boolean, snapshot?: Status[],
 *   events?: {offset: number, merged?: number, status: Status}[]}} SubscribedFrame
 */

/**
 * What a frame changed: `news` to call back, in order; `replaced` when the whole picture is new;
 * `gap` when the topic must be asked for again, from `position`.
 * @typedef {{news: Status[], replaced: boolean, gap: boolean}} Change
 */

const TERMINAL = new Set(["SUCCESS", "FAILURE", "REVOKED", "LOST"]);

/** As many tasks as the server itself keeps of a topic; as many again are remembered when gone. */
const TASKS_KEPT = 1000;

/** More events than this do not wait for an answer; the rest is asked for again. */
const EVENTS_HELD = 1000;

/**
 * Says whether a status is an ending.
 * @param {Pick<Status, "state">} status
 */
export function isTerminal(status) {
  return TERMINAL.has(status.state);
}

/**
 * What is remembered of a task that is out of the picture: where and what was told of it last.
 * @typedef {Pick<Status, "version" | "state" | "run" | "attempt"> & {epoch: string | null}} Gone
 */

/**
 * Says whether two statuses tell the same ending of the same run.
 * @param {Status | Gone} one
 * @param {Status} other
 */
function isSameEnding(one, other) {
  return (
    isTerminal(one) &&
    one.state === other.state &&
    one.run === other.run &&
    one.attempt === other.attempt
  );
}

export class Feed {
  /** @type {Position | null} */
  position = null;

  /** The newest whole status of each task. @type {Map<string, Status>} */
  tasks = new Map();

  /** Versions told in `#epoch`, the least recently heard of first. @type {Map<string, number>} */
  #versions = new Map();

  /** Tasks that have left `tasks`, the longest gone first. @type {Map<string, Gone>} */
  #gone = new Map();

  /** @type {string | null} */
  #epoch = null;

  #live = false;

  /** @type {EventFrame[]} */
  #held = [];

  /** @type {string | null} */
  #taskId;

  /** @param {string} topic */
  constructor(topic) {
    this.#taskId = topic.startsWith("task:") ? topic.slice("task:".length) : null;
  }

  /** The newest status of the one task of a `task:` topic. */
  get task() {
    return this.#taskId === null ? null : (this.tasks.get(this.#taskId) ?? null);
  }

  /** The connection is gone: what comes on the next one waits for its `subscribed`. */
  pause() {
    this.#live = false;
    this.#held = [];
  }

  /**
   * Takes the answer to a subscription: what was missed, or the whole picture.
   * @param {SubscribedFrame} frame
   * @returns {Change}
   */
  subscribed(frame) {
    const { epoch, offset, recovered, events = [], snapshot = [] } = frame;
    const change = { news: [], replaced: false, gap: false };
    this.#live = true;
    if (recovered) {
      for (const event of events) this.#take({ epoch, ...event }, change);
      if (this.position?.epoch !== epoch || this.position.offset < offset) {
        // A recovery is whole or it is none: trust nothing of it and ask for the snapshot.
        this.position = null;
        this.#live = false;
        change.gap = true;
      }
    } else {
      this.#replace({ epoch, offset, snapshot }, change);
    }
    const held = this.#held;
    this.#held = [];
    for (const event of held) this.#take(event, change);
    // Asked for again, they are in the next answer; kept, those of a log that went back or was
    // lost would ask for ever.
    if (!this.#live) this.#held = [];
    return change;
  }

  /**
   * Takes a whole picture in mid-stream.
   * @param {SnapshotFrame} frame
   * @returns {Change}
   */
  snapshot(frame) {
    const change = { news: [], replaced: false, gap: false };
    this.#replace(frame, change);
    return change;
  }

  /**
   * Takes an event.
   * @param {EventFrame} frame
   * @returns {Change}
   */
  event(frame) {
    const change = { news: [], replaced: false, gap: false };
    this.#take(frame, change);
    return change;
  }

  /**
   * @param {EventFrame} frame
   * @param {Change} change
   */
  #take(frame, change) {
    if (!this.#live) {
      this.#held.push(frame);
      // The oldest goes: the newest then shows a gap, and what went is asked for again.
      if (this.#held.length > EVENTS_HELD) this.#held.shift();
      return;
    }
    const { epoch, offset, merged, status } = frame;
    switch (step(this.position, { epoch, offset }, merged)) {
      case "deliver":
        this.position = { epoch, offset };
        this.#accept(status, change);
        break;
      case "gap":
        this.#live = false;
        this.#held.push(frame);
        change.gap = true;
        break;
    }
  }

  /**
   * @param {SnapshotFrame} frame
   * @param {Change} change
   */
  #replace({ epoch, offset, snapshot }, change) {
    if (this.#taskId === null) {
      const there = new Set(snapshot.map((status) => status.task_id));
      for (const id of this.tasks.keys()) if (!there.has(id)) this.#drop(id);
    }
    // In the same epoch a log never shrinks, unless the store went back to an older copy of it.
    if (epoch !== this.#epoch || offset < (this.position?.offset ?? 0)) {
      this.#versions.clear();
      this.#epoch = epoch;
    }
    this.position = { epoch, offset };
    change.replaced = true;
    for (const status of snapshot) this.#accept(status, change);
  }

  /**
   * @param {Status} status
   * @param {Change} change
   */
  #accept(status, change) {
    const id = status.task_id;
    if (status.version <= (this.#versions.get(id) ?? 0)) return;
    const gone = this.#gone.get(id);
    const before = this.tasks.get(id) ?? gone;
    this.#gone.delete(id);
    this.#versions.delete(id);
    this.#versions.set(id, status.version);
    this.tasks.set(id, status);
    const isUnchanged =
      gone?.epoch === this.#epoch &&
      gone.version === status.version &&
      gone.state === status.state;
    // After the log was lost versions start over, and an ending may be found a second time.
    const isEndedAlready = before !== undefined && isSameEnding(before, status);
    if (!isUnchanged && !isEndedAlready) change.news.push(status);
    // No news, but the picture was drawn without it.
    else if (gone !== undefined) change.replaced = true;
    if (this.tasks.size > TASKS_KEPT) {
      for (const [oldest] of this.#versions) return this.#drop(oldest);
    }
  }

  /**
   * Takes a task out of the picture, and remembers enough not to tell the same of it again.
   * @param {string} id
   */
  #drop(id) {
    const { version, state, run, attempt } = /** @type {Status} */ (this.tasks.get(id));
    this.#gone.set(id, { epoch: this.#epoch, version, state, run, attempt });
    if (this.#gone.size > TASKS_KEPT) {
      const [longest] = this.#gone.keys();
      this.#gone.delete(/** @type {string} */ (longest));
    }
    this.tasks.delete(id);
    this.#versions.delete(id);
  }
}
