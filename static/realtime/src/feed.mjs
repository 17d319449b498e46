/**
 * The client's copy of one topic. It turns frames into the statuses that handlers have not yet
 * received. No network here.
 */

import { step } from "./position.mjs";

/** @typedef {import("./position.mjs").Position} Position */

/**
 * The complete state of one task at one moment. Keys that later versions of the service add are
 * passed on unchanged.
 *
 * `state` is Celery's name (`PENDING`, `RECEIVED`, `STARTED`, `PROGRESS` or a name of the task's
 * own, `RETRY`, `STALLED`, `SUCCESS`, `FAILURE`, `REVOKED`, `LOST`). Times are ISO 8601 text in
 * UTC, for display and never for ordering.
 * @typedef {object} Status
 * @property {string} task_id
 * @property {string | null} name
 * @property {string} state
 * @property {number} version Rises by one with each accepted update.
 * @property {number} run Counts deliveries to a worker.
 * @property {number} attempt Counts retries.
 * @property {Progress | null} progress
 * @property {any} result
 * @property {boolean} truncated True if the result was too large, or JSON cannot express it.
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
 * The progress of a task. Numbers that the task does not know are null.
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
 * What a frame changed: `statuses` that are new to handlers, in order; `replaced` when the whole
 * list was replaced; `gap` when the client must subscribe again, from `position`.
 * @typedef {{statuses: Status[], replaced: boolean, gap: boolean}} Update
 */

const TERMINAL = new Set(["SUCCESS", "FAILURE", "REVOKED", "LOST"]);

/** Tasks that a topic keeps, as on the server; as many that are gone are remembered. */
const MAX_TASKS = 1000;

/** Events that wait for the answer to `subscribe`; older ones are requested again. */
const MAX_WAITING = 1000;

/**
 * Returns whether a status is an ending.
 * @param {Pick<Status, "state">} status
 */
export function isTerminal(status) {
  return TERMINAL.has(status.state);
}

/**
 * What is remembered of a task that has left the list: the status that handlers received last.
 * @typedef {Pick<Status, "version" | "state" | "run" | "attempt" | "published_at"> &
 *   {epoch: string | null}} Gone
 */

/**
 * Returns whether a task id was published again: then its versions begin again.
 * @param {Pick<Status, "published_at">} before
 * @param {Pick<Status, "published_at">} after
 */
function isNewPublication(before, after) {
  return (
    before.published_at !== null &&
    after.published_at !== null &&
    after.published_at > before.published_at
  );
}

/**
 * Returns whether two statuses report the same ending of the same run.
 * @param {Status | Gone} before
 * @param {Status} after
 */
function isSameEnding(before, after) {
  return (
    isTerminal(before) &&
    before.state === after.state &&
    before.run === after.run &&
    before.attempt === after.attempt &&
    !isNewPublication(before, after)
  );
}

export class Feed {
  /** @type {Position | null} */
  position = null;

  /** The newest status of each task. @type {Map<string, Status>} */
  tasks = new Map();

  /** How many tasks the server has of the topic, by its last frame. */
  total = 0;

  /** The `after` of the next page; null after the last. @type {string | null} */
  next = null;

  /** Versions received in `#epoch`, the oldest first. @type {Map<string, number>} */
  #versions = new Map();

  /** Tasks that have left `tasks`, the first to leave first. @type {Map<string, Gone>} */
  #gone = new Map();

  /**
   * Tasks that came with a page. A page is read apart from the log, so it may be newer than events
   * that have not arrived yet.
   * @type {Set<string>}
   */
  #paged = new Set();

  /** @type {string | null} */
  #epoch = null;

  #isLive = false;

  /** @type {EventFrame[]} */
  #waiting = [];

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

  /** The connection is lost: events of the next one wait for its `subscribed`. */
  pause() {
    this.#isLive = false;
    this.#waiting = [];
  }

  /**
   * Applies the answer to `subscribe`: the missed events, or a snapshot.
   * @param {SubscribedFrame} frame
   * @returns {Update}
   */
  subscribed(frame) {
    const { epoch, offset, recovered, events = [], snapshot = [] } = frame;
    const update = { statuses: [], replaced: false, gap: false };
    this.#isLive = true;
    if (recovered) {
      this.total = frame.total ?? this.total;
      for (const event of events) this.#apply({ epoch, ...event }, update);
      if (this.position?.epoch !== epoch || this.position.offset < offset) {
        // The recovery is incomplete: trust nothing of it, and request a snapshot.
        this.position = null;
        this.#isLive = false;
        update.gap = true;
      }
    } else {
      this.#replace({ ...frame, snapshot }, update);
    }
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const event of waiting) this.#apply(event, update);
    // The next answer contains them. Kept, events of a log that was lost or went back would show
    // a gap after each answer, for ever.
    if (!this.#isLive) this.#waiting = [];
    return update;
  }

  /**
   * Applies a snapshot that the server sent in place of events.
   * @param {SnapshotFrame} frame
   * @returns {Update}
   */
  snapshot(frame) {
    const update = { statuses: [], replaced: false, gap: false };
    this.#replace(frame, update);
    return update;
  }

  /**
   * Applies an event.
   * @param {EventFrame} frame
   * @returns {Update}
   */
  event(frame) {
    const update = { statuses: [], replaced: false, gap: false };
    this.#apply(frame, update);
    return update;
  }

  /**
   * Applies a further page of the list.
   * @param {{snapshot: Status[], next?: string | null}} frame
   * @returns {Update}
   */
  page({ snapshot, next = null }) {
    const update = { statuses: [], replaced: false, gap: false };
    this.next = next;
    for (const status of snapshot) {
      if (this.#isStale(status)) continue;
      this.#accept(status, update);
      this.#paged.add(status.task_id);
    }
    return update;
  }

  /**
   * @param {EventFrame} frame
   * @param {Update} update
   */
  #apply(frame, update) {
    if (!this.#isLive) {
      this.#waiting.push(frame);
      // Without the oldest event the next one shows a gap, and the missing ones are requested.
      if (this.#waiting.length > MAX_WAITING) this.#waiting.shift();
      return;
    }
    const { epoch, offset, merged, status } = frame;
    switch (step(this.position, { epoch, offset }, merged)) {
      case "deliver":
        this.position = { epoch, offset };
        // The log's order is right even where versions fall: a task whose record has expired
        // begins at 1 again.
        if (this.#paged.has(status.task_id) && this.#isStale(status)) return;
        this.#accept(status, update);
        break;
      case "gap":
        this.#isLive = false;
        this.#waiting.push(frame);
        update.gap = true;
        break;
    }
  }

  /**
   * @param {SnapshotFrame} frame
   * @param {Update} update
   */
  #replace({ epoch, offset, snapshot, total = 0, next = null }, update) {
    const task = this.task;
    if (this.#taskId === null) this.#dropMissing(snapshot, next);
    // An ending stays when its record has expired; a task that had not ended is gone.
    else if (snapshot.length === 0 && task !== null && !isTerminal(task)) this.#drop(task.task_id);
    // Within an epoch a log never shrinks, unless the store went back to an older copy.
    if (epoch !== this.#epoch || offset < (this.position?.offset ?? 0)) {
      this.#versions.clear();
      this.#epoch = epoch;
    }
    this.position = { epoch, offset };
    this.total = total;
    this.next = next;
    update.replaced = true;
    for (const status of snapshot) if (!this.#isStale(status)) this.#accept(status, update);
  }

  /**
   * Drops the tasks that the snapshot lacks. The snapshot is the first page, newest first: tasks
   * that are older than its last one may be on a later page.
   * @param {Status[]} snapshot
   * @param {string | null} next
   */
  #dropMissing(snapshot, next) {
    const present = new Set(snapshot.map((status) => status.task_id));
    const last = next === null ? undefined : snapshot.at(-1);
    for (const [id, status] of this.tasks) {
      const isOlder = last !== undefined && isNewPublication(status, last);
      if (!present.has(id) && !isOlder) this.#drop(id);
    }
  }

  /**
   * Returns whether this epoch has brought the same or a newer status of the task.
   * @param {Status} status
   */
  #isStale(status) {
    const id = status.task_id;
    const version = this.#versions.get(id) ?? 0;
    if (status.version > version) return false;
    const known = this.tasks.get(id);
    return known === undefined || !isNewPublication(known, status);
  }

  /**
   * @param {Status} status
   * @param {Update} update
   */
  #accept(status, update) {
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
      !isNewPublication(gone, status);
    // After the log was lost versions begin again, and an ending may arrive a second time.
    const isEndedAlready = before !== undefined && isSameEnding(before, status);
    if (!isUnchanged && !isEndedAlready) update.statuses.push(status);
    // The status is not new, but the list has changed.
    else if (gone !== undefined) update.replaced = true;
    if (this.tasks.size > MAX_TASKS) {
      for (const [oldest] of this.#versions) return this.#drop(oldest);
    }
  }

  /**
   * Removes a task from the list, and remembers enough not to report the same status again.
   * @param {string} id
   */
  #drop(id) {
    const { version, state, run, attempt, published_at } = /** @type {Status} */ (
      this.tasks.get(id)
    );
    this.#gone.set(id, { epoch: this.#epoch, version, state, run, attempt, published_at });
    if (this.#gone.size > MAX_TASKS) {
      const [first] = this.#gone.keys();
      this.#gone.delete(/** @type {string} */ (first));
    }
    this.tasks.delete(id);
    this.#versions.delete(id);
    this.#paged.delete(id);
  }
}
