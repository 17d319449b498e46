/**
 * What a page holds of a task or of a list of tasks.
 */

import { RealtimeError } from "./errors.mjs";
import { isTerminal } from "./feed.mjs";
import { Listeners } from "./listeners.mjs";

/** @typedef {import("./feed.mjs").Change} Change */
/** @typedef {import("./feed.mjs").Progress} Progress */
/** @typedef {import("./feed.mjs").Status} Status */
/** @typedef {import("./listeners.mjs").Undo} Undo */
/** @typedef {import("./subscription.mjs").Subscription} Subscription */

/** What the handles of a task and of a topic have in common. */
export class Handle {
  #subscription;
  #reader;

  /** @type {RealtimeError | null} */
  #error = null;

  #onClosed = () => {};

  /** @type {Listeners<Status>} */
  #statuses = new Listeners();

  /** @type {Listeners<RealtimeError>} */
  #over = new Listeners();

  /**
   * @internal
   * @param {Subscription} subscription
   */
  constructor(subscription) {
    this.#subscription = subscription;
    this.#reader = {
      change: (/** @type {Change} */ change) => this.onChange(change),
      over: (/** @type {RealtimeError} */ error) => this.#end(error),
    };
    subscription.readers.add(this.#reader);
  }

  /**
   * Calls back with the newest status of each task, and with each new one, once and in order.
   * @param {(status: Status) => void} handler
   * @returns {Undo}
   */
  onStatus(handler) {
    return this.#statuses.add(handler, () => this.subscription.feed.tasks.values());
  }

  /**
   * Calls back once when the server refuses, withdraws or gives up the subscription.
   * @param {(error: RealtimeError) => void} handler
   * @returns {Undo}
   */
  onError(handler) {
    return this.onOver((error) => {
      if (error.code !== "closed") handler(error);
    });
  }

  /**
   * Closes the handle: no handler is called any more, and the last handle of a topic unsubscribes.
   */
  close() {
    if (this.#error !== null) return;
    this.#end(new RealtimeError("closed", "The handle was closed."));
    this.#subscription.leave(this.#reader);
  }

  /** @internal */
  get subscription() {
    return this.#subscription;
  }

  /**
   * Like `onError`, also for a handle that was closed here.
   * @internal
   * @param {(error: RealtimeError) => void} handler
   */
  onOver(handler) {
    return this.#over.add(handler, () => (this.#error === null ? [] : [this.#error]));
  }

  /**
   * @internal
   * @param {Change} change
   */
  onChange({ news }) {
    for (const status of news) this.#statuses.emit(status);
  }

  /**
   * Calls back, at once, when the handle is closed or the subscription ends.
   * @internal
   * @param {() => void} callback
   */
  onClosed(callback) {
    this.#onClosed = callback;
  }

  /** @param {RealtimeError} error */
  #end(error) {
    this.#error = error;
    this.#statuses.clear();
    this.#onClosed();
    this.#over.emit(error);
  }
}

/** One task. A `for await` over it gives each status, and ends with the task. */
export class TaskHandle extends Handle {
  /** @type {Listeners<void>} */
  #gone = new Listeners();
  #isKnown = false;

  /**
   * @internal
   * @param {string} id
   * @param {Subscription} subscription
   */
  constructor(id, subscription) {
    super(subscription);
    this.id = id;
  }

  /** The newest status; null before the first. */
  get status() {
    return this.subscription.feed.task;
  }

  /**
   * Calls back with the progress of each status that has one.
   * @param {(progress: Progress, status: Status) => void} handler
   * @returns {Undo}
   */
  onProgress(handler) {
    return this.onStatus((status) => {
      if (status.progress !== null) handler(status.progress, status);
    });
  }

  /**
   * Calls back with the ending, also one that failed. A task that is delivered again ends again.
   * @param {(status: Status) => void} handler
   * @returns {Undo}
   */
  onEnd(handler) {
    return this.onStatus((status) => {
      if (isTerminal(status)) handler(status);
    });
  }

  /**
   * Calls back when the server no longer knows the task, which had not ended: its record has
   * expired, or the store lost it. It may come back.
   * @param {() => void} handler
   * @returns {Undo}
   */
  onGone(handler) {
    return this.#gone.add(handler, () => []);
  }

  close() {
    this.#gone.clear();
    super.close();
  }

  /**
   * Waits for the ending: a failed task gives its status as well. Rejects with a
   * `RealtimeError` when the ending cannot be known.
   * @returns {Promise<Status>}
   */
  done() {
    return new Promise((resolve, reject) => {
      const undos = [
        this.onEnd((status) => {
          settle();
          resolve(status);
        }),
        this.onOver((error) => {
          settle();
          reject(error);
        }),
      ];
      const settle = () => undos.forEach((undo) => undo());
    });
  }

  /**
   * Asks for the task to be cancelled. Fulfilled when the request was passed on; the state follows
   * like any other.
   * @returns {Promise<void>}
   */
  cancel() {
    return this.subscription.cancel();
  }

  /**
   * @internal
   * @param {Change} change
   */
  onChange(change) {
    const isKnown = this.status !== null;
    if (this.#isKnown && !isKnown) this.#gone.emit();
    this.#isKnown = isKnown;
    super.onChange(change);
  }

  /** @returns {AsyncGenerator<Status, void, void>} */
  async *[Symbol.asyncIterator]() {
    /** @type {Status[]} */
    const queue = [];
    /** @type {RealtimeError | null} */
    let error = null;
    let wake = () => {};
    const undos = [
      this.onStatus((status) => {
        // A slow reader skips statuses of the same state: the newer one replaces them.
        if (queue.at(-1)?.state === status.state) queue.pop();
        queue.push(status);
        wake();
      }),
      this.onOver((reason) => {
        error = reason;
        wake();
      }),
    ];
    try {
      for (;;) {
        const status = queue.shift();
        if (status !== undefined) {
          yield status;
          if (isTerminal(status)) return;
        } else if (error !== null) {
          if (/** @type {RealtimeError} */ (error).code === "closed") return;
          throw error;
        } else {
          await new Promise((resolve) => {
            wake = () => resolve(undefined);
          });
        }
      }
    } finally {
      for (const undo of undos) undo();
    }
  }
}

/** A topic with many tasks. */
export class TopicHandle extends Handle {
  /** @type {Listeners<ReadonlyMap<string, Status>>} */
  #snapshots = new Listeners();

  /**
   * @internal
   * @param {string} name
   * @param {Subscription} subscription
   */
  constructor(name, subscription) {
    super(subscription);
    this.name = name;
  }

  /** The newest status of each task, by task id. @returns {ReadonlyMap<string, Status>} */
  get tasks() {
    return this.subscription.feed.tasks;
  }

  /** How many tasks the server has of the topic; `tasks` holds those of the pages loaded so far. */
  get total() {
    return this.subscription.feed.total;
  }

  /** Says whether there are tasks on further pages. */
  get hasMore() {
    return this.subscription.feed.next !== null;
  }

  /**
   * Loads the next page, older tasks, into `tasks`; `onStatus` is called with each of them. Resolves
   * at once when all are loaded.
   * @param {number} [limit] Tasks on the page: 1 to 200, 50 by default.
   * @returns {Promise<void>}
   */
  more(limit) {
    return this.subscription.more(limit);
  }

  /**
   * Calls back with all tasks when the list was replaced: at first, and where the server could not
   * send what was missed. A task that is not in it is gone. `onStatus` follows with what is news.
   * @param {(tasks: ReadonlyMap<string, Status>) => void} handler
   * @returns {Undo}
   */
  onSnapshot(handler) {
    const { feed } = this.subscription;
    return this.#snapshots.add(handler, () => (feed.position === null ? [] : [feed.tasks]));
  }

  close() {
    this.#snapshots.clear();
    super.close();
  }

  /**
   * @internal
   * @param {Change} change
   */
  onChange(change) {
    if (change.replaced) this.#snapshots.emit(this.tasks);
    super.onChange(change);
  }
}

