/**
 * What a client knows of one topic, and what of it is news. No network here: frames go in, and
 * what handlers are to be called with comes out.
 */

import { step } from "./position.mjs";

/** @typedef {import("./position.mjs").Position} Position */

/**
 * The state of one task at one moment, complete. Keys of later versions of the service are passed
 * on as they are.
 *
 * `state` is Celery's name (`PENDING`, `RECEIVED`, `STARTED`, `PROGRESS` or a name of the task's
 * own, `RETRY`, `STALLED`, `SUCCESS`, `FAILURE`, `REVOKED`, `LOST`). Times are ISO 8601 text in
 * UTC: for showing, never for ordering.
 * @typedef {object} Status
 * @property {string} task_id
 * @property {string | null} name
 * @property {string} state
 * @property {number} version Rises by one with each accepted change.
 * @property {number} run Counts deliveries to a worker.
 * @property {number} attempt Counts retries.
 * @property {Progress | null} progress
 * @property {any} result
 * @property {boolean} truncated The result was too large, or JSON cannot express it.
 * @property {{type: string, message: string} | null} error
 * @property {string | null} eta
 * @property {string | null} retry_at
 * @property {boolean} cancelling
 * @property {string | null} root_id
 * @property {string | null} parent_id
 * @property {string | null} group_id
 * @property {string | null} [flow_id]
 * @property {string | null} [retry_of]
 * @property {string | null} published_at
 * @property {string | null} started_at
 * @property {string | null} finished_at
 * @property {string | null} updated_at
 */

/**
 * Numbers that the task does not know are null.
 * @typedef {{current: number | null, total: number | null, message: string | null,
 *   meta?: Record<string, any> | null}} Progress
 */

/** @typedef {{epoch: string, offset: number, merged?: number, status: Status}} EventFrame */

/**
 * @typedef {{epoch: string, offset: number, snapshot: Status[], total?: number,
 *   next?: string | null}} SnapshotFrame
 */

/**
 * @typedef {{epoch: string, offset: number, recovered: boolean, snapshot?: Status[],
 *   total?: number, next?: string | null,
 *   events?: {offset: number, merged?: number, status: Status}[]}} SubscribedFrame
 */

/**
 * What a frame changed: `news` to call handlers with, in order; `replaced` when all that was known
 * was replaced; `gap` when the topic must be subscribed to again, from `position`.
 * @typedef {{news: Status[], replaced: boolean, gap: boolean}} Change
 */

const TERMINAL = new Set(["SUCCESS", "FAILURE", "REVOKED", "LOST"]);

/** As many tasks as the server itself keeps of a topic; as many again are remembered when gone. */
const TASKS_KEPT = 1000;

/** More events than this do not wait for an answer; the rest is requested again. */
const EVENTS_HELD = 1000;

/**
 * Says whether a status is an ending.
 * @param {Pick<Status, "state">} status
 */
export function isTerminal(status) {
  return TERMINAL.has(status.state);
}

/**
 * What is remembered of a task that has left the list: what handlers were last told of it.
 * @typedef {Pick<Status, "version" | "state" | "run" | "attempt" | "published_at"> &
 *   {epoch: string | null}} Gone
 */

/**
 * Says whether a task id was published again: then its statuses count anew.
 * @param {Pick<Status, "published_at">} before
 * @param {Pick<Status, "published_at">} after
 */
function isPublishedAnew(before, after) {
  return (
    before.published_at !== null &&
    after.published_at !== null &&
    after.published_at > before.published_at
  );
}

/**
 * Says whether two statuses report the same ending of the same run.
 * @param {Status | Gone} before
 * @param {Status} after
 */
function isSameEnding(before, after) {
  return (
    isTerminal(before) &&
    before.state === after.state &&
    before.run === after.run &&
    before.attempt === after.attempt &&
    !isPublishedAnew(before, after)
  );
}

export class Feed {
  /** @type {Position | null} */
  position = null;

  /** The newest status of each task. @type {Map<string, Status>} */
  tasks = new Map();

  /** How many tasks the server has of the topic, as far as it said. */
  total = 0;

  /** Where the next page begins; null on the last. @type {string | null} */
  next = null;

  /** Versions told in `#epoch`, the least recently changed first. @type {Map<string, number>} */
  #versions = new Map();

  /** Tasks that have left `tasks`, the longest gone first. @type {Map<string, Gone>} */
  #gone = new Map();

  /**
   * Tasks that are known from a page. A page is read beside the log: it may be ahead of events
   * that are still on their way.
   * @type {Set<string>}
   */
  #paged = new Set();

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

  /** The connection is gone: events on the next one wait for its `subscribed`. */
  pause() {
    this.#live = false;
    this.#held = [];
  }

  /**
   * Applies the answer to a subscription: what was missed, or all there is.
   * @param {SubscribedFrame} frame
   * @returns {Change}
   */
  subscribed(frame) {
    const { epoch, offset, recovered, events = [], snapshot = [] } = frame;
    const change = { news: [], replaced: false, gap: false };
    this.#live = true;
    if (recovered) {
      this.total = frame.total ?? this.total;
      for (const event of events) this.#apply({ epoch, ...event }, change);
      if (this.position?.epoch !== epoch || this.position.offset < offset) {
        // A recovery is complete or it is none: trust nothing of it and request the snapshot.
        this.position = null;
        this.#live = false;
        change.gap = true;
      }
    } else {
      this.#replace({ ...frame, snapshot }, change);
    }
    const held = this.#held;
    this.#held = [];
    for (const event of held) this.#apply(event, change);
    // Requested again, they are in the next answer; kept, those of a log that went back or was
    // lost would request for ever.
    if (!this.#live) this.#held = [];
    return change;
  }

  /**
   * Applies a snapshot in mid-stream.
   * @param {SnapshotFrame} frame
   * @returns {Change}
   */
  snapshot(frame) {
    const change = { news: [], replaced: false, gap: false };
    this.#replace(frame, change);
    return change;
  }

  /**
   * Applies an event.
   * @param {EventFrame} frame
   * @returns {Change}
   */
  event(frame) {
    const change = { news: [], replaced: false, gap: false };
    this.#apply(frame, change);
    return change;
  }

  /**
   * Applies a further page of the list.
   * @param {{snapshot: Status[], next?: string | null}} frame
   * @returns {Change}
   */
  page({ snapshot, next = null }) {
    const change = { news: [], replaced: false, gap: false };
    this.next = next;
    for (const status of snapshot) {
      if (this.#isStale(status)) continue;
      this.#accept(status, change);
      this.#paged.add(status.task_id);
    }
    return change;
  }

  /**
   * @param {EventFrame} frame
   * @param {Change} change
   */
  #apply(frame, change) {
    if (!this.#live) {
      this.#held.push(frame);
      // The oldest goes: the newest then shows a gap, and the missing ones are requested.
      if (this.#held.length > EVENTS_HELD) this.#held.shift();
      return;
    }
    const { epoch, offset, merged, status } = frame;
    switch (step(this.position, { epoch, offset }, merged)) {
      case "deliver":
        this.position = { epoch, offset };
        // The log has the order of the server, whatever the versions: a task whose record had
        // expired begins at 1 again.
        if (this.#paged.has(status.task_id) && this.#isStale(status)) return;
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
  #replace({ epoch, offset, snapshot, total = 0, next = null }, change) {
    const task = this.task;
    if (this.#taskId === null) this.#dropMissing(snapshot, next);
    // An ending stays known when its record has expired; a task that had not ended is gone.
    else if (snapshot.length === 0 && task !== null && !isTerminal(task)) this.#drop(task.task_id);
    // In the same epoch a log never shrinks, unless the store went back to an older copy of it.
    if (epoch !== this.#epoch || offset < (this.position?.offset ?? 0)) {
      this.#versions.clear();
      this.#epoch = epoch;
    }
    this.position = { epoch, offset };
    this.total = total;
    this.next = next;
    change.replaced = true;
    for (const status of snapshot) if (!this.#isStale(status)) this.#accept(status, change);
  }

  /**
   * Drops what a snapshot would contain if it still existed. The snapshot is the first page, newest
   * first: an older task may be on a later one.
   * @param {Status[]} snapshot
   * @param {string | null} next
   */
  #dropMissing(snapshot, next) {
    const present = new Set(snapshot.map((status) => status.task_id));
    const last = next === null ? undefined : snapshot.at(-1);
    for (const [id, status] of this.tasks) {
      const isOlder = last !== undefined && isPublishedAnew(status, last);
      if (!present.has(id) && !isOlder) this.#drop(id);
    }
  }

  /**
   * Says whether a status is known, or older than what is known in this epoch.
   * @param {Status} status
   */
  #isStale(status) {
    const id = status.task_id;
    const version = this.#versions.get(id) ?? 0;
    if (status.version > version) return false;
    const known = this.tasks.get(id);
    return known === undefined || !isPublishedAnew(known, status);
  }

  /**
   * @param {Status} status
   * @param {Change} change
   */
  #accept(status, change) {
    const id = status.task_id;
    const gone = this.#gone.get(id);
    const before = this.tasks.get(id) ?? gone;
    this.#gone.delete(id);
    this.#paged.delete(id);
    this.#versions.delete(id);
    this.#versions.set(id, status.version);
    this.tasks.set(id, status);
    this.total = Math.max(this.total, this.tasks.size);
    const isUnchanged =
      gone?.epoch === this.#epoch &&
      gone.version === status.version &&
      gone.state === status.state &&
      !isPublishedAnew(gone, status);
    // After the log was lost versions start over, and an ending may be found a second time.
    const isEndedAlready = before !== undefined && isSameEnding(before, status);
    if (!isUnchanged && !isEndedAlready) change.news.push(status);
    // No news, but handlers of the whole list do not have it.
    else if (gone !== undefined) change.replaced = true;
    if (this.tasks.size > TASKS_KEPT) {
      for (const [oldest] of this.#versions) return this.#drop(oldest);
    }
  }

  /**
   * Takes a task off the list, and remembers enough not to report the same of it again.
   * @param {string} id
   */
  #drop(id) {
    const { version, state, run, attempt, published_at } = /** @type {Status} */ (
      this.tasks.get(id)
    );
    this.#gone.set(id, { epoch: this.#epoch, version, state, run, attempt, published_at });
    if (this.#gone.size > TASKS_KEPT) {
      const [longest] = this.#gone.keys();
      this.#gone.delete(/** @type {string} */ (longest));
    }
    this.tasks.delete(id);
    this.#versions.delete(id);
    this.#paged.delete(id);
  }
}
