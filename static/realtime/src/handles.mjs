/**
 * The handles that `task()` and `topic()` of a client return.
 */

import { RealtimeError } from "./errors.mjs";
import { isTerminal } from "./feed.mjs";
import { Listeners } from "./listeners.mjs";

/** @typedef {import("./feed.mjs").Update} Update */
/** @typedef {import("./feed.mjs").Progress} Progress */
/** @typedef {import("./feed.mjs").Status} Status */
/** @typedef {import("./listeners.mjs").Undo} Undo */
/** @typedef {import("./subscription.mjs").Subscription} Subscription */

/** The common part of the handles of a task and of a topic. */
export class Handle {
  #subscription;
  #reader;

  /** @type {RealtimeError | null} */
  #error = null;

  #onClosed = () => {};

  /** @type {Listeners<Status>} */
  #statuses = new Listeners();

  /** @type {Listeners<RealtimeError>} */
  #errors = new Listeners();

  /**
   * @internal
   * @param {Subscription} subscription
   */
  constructor(subscription) {
    this.#subscription = subscription;
    this.#reader = {
      update: (/** @type {Update} */ update) => this.onUpdate(update),
      error: (/** @type {RealtimeError} */ error) => this.#end(error),
    };
    subscription.readers.add(this.#reader);
  }

  /**
   * Calls the handler with the newest status of each task, then with each new one, once and in
   * order.
   * @param {(status: Status) => void} handler
   * @returns {Undo}
   */
  onStatus(handler) {
    return this.#statuses.add(handler, () => this.subscription.feed.tasks.values());
  }

  /**
   * Calls the handler once when the subscription has ended with an error.
   * @param {(error: RealtimeError) => void} handler
   * @returns {Undo}
   */
  onError(handler) {
    return this.onAnyError((error) => {
      if (error.code !== "closed") handler(error);
    });
  }

  /**
   * Closes the handle: its handlers are not called any more, and the last handle of a topic
   * unsubscribes.
   */
  close() {
    if (this.#error !== null) return;
    this.#end(new RealtimeError("closed", "The handle was closed."));
    this.#subscription.removeReader(this.#reader);
  }

  /** @internal */
  get subscription() {
    return this.#subscription;
  }

  /**
   * Like `onError`, also when the page closed the handle.
   * @internal
   * @param {(error: RealtimeError) => void} handler
   */
  onAnyError(handler) {
    return this.#errors.add(handler, () => (this.#error === null ? [] : [this.#error]));
  }

  /**
   * @internal
   * @param {Update} update
   */
  onUpdate({ statuses }) {
    for (const status of statuses) this.#statuses.emit(status);
  }

  /**
   * Sets what is called at once when the handle is closed or the subscription has ended.
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
    this.#errors.emit(error);
  }
}

/** One task. A `for await` loop over it gets each status, and ends with the task. */
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

  /** The newest status; null before the first one. */
  get status() {
    return this.subscription.feed.task;
  }

  /**
   * Calls the handler with the progress of each status that has one.
   * @param {(progress: Progress, status: Status) => void} handler
   * @returns {Undo}
   */
  onProgress(handler) {
    return this.onStatus((status) => {
      if (status.progress !== null) handler(status.progress, status);
    });
  }

  /**
   * Calls the handler with the ending, also with a failure. A task that is delivered to a worker
   * again ends again.
   * @param {(status: Status) => void} handler
   * @returns {Undo}
   */
  onEnd(handler) {
    return this.onStatus((status) => {
      if (isTerminal(status)) handler(status);
    });
  }

  /**
   * Calls the handler when the server no longer knows a task that had not ended: its record has
   * expired, or the store lost it. The task may come back.
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
   * Waits for the ending, and returns its status, also that of a failed task. Rejects with a
   * `RealtimeError` when the subscription has ended with an error.
   * @returns {Promise<Status>}
   */
  done() {
    return new Promise((resolve, reject) => {
      const undos = [
        this.onEnd((status) => {
          stop();
          resolve(status);
        }),
        this.onAnyError((error) => {
          stop();
          reject(error);
        }),
      ];
      const stop = () => undos.forEach((undo) => undo());
    });
  }

  /**
   * Requests the cancellation of the task. Fulfilled when the server has passed the request on; the
   * new state arrives like any other.
   * @returns {Promise<void>}
   */
  cancel() {
    return this.subscription.cancel();
  }

  /**
   * @internal
   * @param {Update} update
   */
  onUpdate(update) {
    const isKnown = this.status !== null;
    if (this.#isKnown && !isKnown) this.#gone.emit();
    this.#isKnown = isKnown;
    super.onUpdate(update);
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
        // A slow loop gets the newest of successive statuses with the same state.
        if (queue.at(-1)?.state === status.state) queue.pop();
        queue.push(status);
        wake();
      }),
      this.onAnyError((reason) => {
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

  /** How many tasks the server has of the topic; `tasks` has those of the loaded pages. */
  get total() {
    return this.subscription.feed.total;
  }

  /** Whether there are tasks on further pages. */
  get hasMore() {
    return this.subscription.feed.next !== null;
  }

  /**
   * Loads the next page, with older tasks, into `tasks`; `onStatus` is called with each of them.
   * Resolves at once when all pages are loaded.
   * @param {number} [limit] Tasks on the page: 1 to 200, 50 by default.
   * @returns {Promise<void>}
   */
  more(limit) {
    return this.subscription.more(limit);
  }

  /**
   * Calls the handler with all tasks when the list was replaced: at first, and where the server
   * could not send the missed events. Tasks that are not in it are gone. `onStatus` is called
   * afterwards with the statuses that are new.
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
   * @param {Update} update
   */
  onUpdate(update) {
    if (update.replaced) this.#snapshots.emit(this.tasks);
    super.onUpdate(update);
  }
}

