/**
 * Live status of Celery tasks, in the browser and in Node 22 or newer.
 *
 *     import { connect } from "./client.js";
 *     const task = connect().task(id, { token });
 *     task.onProgress(({ current, total }) => show(current, total));
 *     const status = await task.done();
 */

import { Connection } from "./connection.js";
import { RealtimeError } from "./errors.js";
import { isTerminal } from "./feed.js";
import { Listeners, report } from "./listeners.js";
import { Subscription } from "./subscription.js";

export { RealtimeError, isTerminal };

/** @typedef {import("./connection.js").ConnectionState} ConnectionState */
/** @typedef {import("./connection.js").Frame} Frame */
/** @typedef {import("./connection.js").Platform} Platform */
/** @typedef {import("./feed.js").Change} Change */
/** @typedef {import("./feed.js").Progress} Progress */
/** @typedef {import("./feed.js").Status} Status */
/** @typedef {import("./listeners.js").Undo} Undo */
/** @typedef {import("./subscription.js").Token} Token */

/**
 * Makes a client; it connects when something is subscribed to.
 * @param {string | URL} [url] The WebSocket's address; `/realtime/ws/` of the page's own site.
 * @param {Partial<Platform>} [platform] Stand-ins for what the platform gives, for tests.
 */
export function connect(url, platform) {
  return new Realtime(url, platform);
}

/**
 * One connection for any number of tasks and topics. Its `state` event carries the
 * `ConnectionState` as `detail`.
 */
export class Realtime extends EventTarget {
  #connection;
  #platform;

  /** By topic. @type {Map<string, Subscription>} */
  #subscriptions = new Map();

  /** @type {Listeners<ConnectionState>} */
  #states = new Listeners();

  /**
   * @param {string | URL} [url]
   * @param {Partial<Platform>} [platform]
   */
  constructor(url = "/realtime/ws/", platform = {}) {
    super();
    const address = new URL(url, globalThis.location?.href);
    address.protocol = address.protocol.replace("http", "ws");
    this.#platform = complete(platform);
    this.#connection = new Connection(address.href, this.#platform, {
      state: (state) => this.#onState(state),
      frame: (frame) => this.#onFrame(frame),
      wanted: () => [...this.#subscriptions.values()].some((one) => !one.isSettled),
    });
  }

  /** The state of the connection. */
  get state() {
    return this.#connection.state;
  }

  /**
   * Calls back with the state there is, and with each change.
   * @param {(state: ConnectionState) => void} handler
   * @returns {Undo}
   */
  onState(handler) {
    return this.#states.add(handler, () => [this.state]);
  }

  /**
   * Follows one task.
   * @param {string} id Celery's task id.
   * @param {{token?: Token}} [options]
   */
  task(id, { token } = {}) {
    return new TaskHandle(id, this.#subscribe(`task:${id}`, token));
  }

  /**
   * Follows a topic with many tasks, such as `user:me`.
   * @param {string} name
   * @param {{token?: Token}} [options]
   */
  topic(name, { token } = {}) {
    return new TopicHandle(name, this.#subscribe(name, token));
  }

  /** Closes every handle and the connection. Subscribing again connects again. */
  close() {
    for (const subscription of [...this.#subscriptions.values()]) {
      subscription.fail(new RealtimeError("closed", "The client was closed."));
    }
    this.#connection.close();
  }

  /**
   * @param {string} topic
   * @param {Token | undefined} token
   */
  #subscribe(topic, token) {
    const known = this.#subscriptions.get(topic);
    const subscription =
      known ??
      new Subscription(topic, this.#connection, this.#platform, (over) => {
        if (this.#subscriptions.get(topic) === over) this.#subscriptions.delete(topic);
      });
    this.#subscriptions.set(topic, subscription);
    if (token !== undefined) subscription.token = token;
    // After the caller has its handle, which is told even if connecting fails at once.
    if (known === undefined) queueMicrotask(() => this.#start(topic, subscription));
    return subscription;
  }

  /**
   * @param {string} topic
   * @param {Subscription} subscription
   */
  #start(topic, subscription) {
    if (this.#subscriptions.get(topic) !== subscription) return;
    if (this.state.state === "connected") subscription.ask();
    else this.#connection.open();
  }

  /** @param {ConnectionState} state */
  #onState(state) {
    for (const subscription of [...this.#subscriptions.values()]) {
      if (state.state === "connected") subscription.ask();
      else subscription.pause();
    }
    if (state.state === "disconnected") {
      for (const subscription of [...this.#subscriptions.values()]) {
        if (subscription.isSettled) continue;
        subscription.fail(new RealtimeError("disconnected", state.reason));
      }
    }
    this.#states.tell(state);
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }

  /** @param {Frame} frame */
  #onFrame(frame) {
    for (const subscription of [...this.#subscriptions.values()]) subscription.receive(frame);
    // An answer to what was closed meanwhile has an id, and concerns nobody.
    if (frame.type === "error" && !(frame.id > 0)) {
      report(new RealtimeError(frame.code, frame.message));
    }
  }
}

/** What the handles of a task and of a topic have in common. */
class Handle {
  #subscription;
  #reader;

  /** @type {RealtimeError | null} */
  #error = null;

  /** @type {Listeners<Status>} */
  #statuses = new Listeners();

  /** @type {Listeners<RealtimeError>} */
  #over = new Listeners();

  /** @param {Subscription} subscription */
  constructor(subscription) {
    this.#subscription = subscription;
    this.#reader = {
      change: (/** @type {Change} */ change) => this.onChange(change),
      over: (/** @type {RealtimeError} */ error) => this.#end(error),
    };
    subscription.readers.add(this.#reader);
  }

  /**
   * Calls back with the newest status of each task, and with each new one: every version at most
   * once, in rising order.
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

  /** Ends it: no handler is called any more, and the last handle of a topic unsubscribes. */
  close() {
    if (this.#error !== null) return;
    this.#end(new RealtimeError("closed", "The handle was closed."));
    this.#subscription.leave(this.#reader);
  }

  /** @protected */
  get subscription() {
    return this.#subscription;
  }

  /**
   * Like `onError`, also for a handle that was closed here.
   * @protected
   * @param {(error: RealtimeError) => void} handler
   */
  onOver(handler) {
    return this.#over.add(handler, () => (this.#error === null ? [] : [this.#error]));
  }

  /**
   * @protected
   * @param {Change} change
   */
  onChange({ news }) {
    for (const status of news) this.#statuses.tell(status);
  }

  /** @param {RealtimeError} error */
  #end(error) {
    this.#error = error;
    this.#statuses.clear();
    this.#over.tell(error);
  }
}

/** One task. A `for await` over it gives each status, and ends with the task. */
export class TaskHandle extends Handle {
  /**
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
   * Asks for the task to be cancelled. Fulfilled when that was passed on; the state follows like
   * any other.
   * @returns {Promise<void>}
   */
  cancel() {
    return this.subscription.cancel();
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
        // For a slow reader a status of the same state gives way: the newer one says it all.
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

  /**
   * Calls back with all tasks when the whole picture is new: at first, and where the server could
   * not say what was missed. What is not in it is gone. `onStatus` follows for what is news.
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
   * @protected
   * @param {Change} change
   */
  onChange(change) {
    if (change.replaced) this.#snapshots.tell(this.tasks);
    super.onChange(change);
  }
}

/**
 * Fills in what the platform gives.
 * @param {Partial<Platform>} platform
 * @returns {Platform}
 */
function complete(platform) {
  const WebSocket = platform.WebSocket ?? /** @type {any} */ (globalThis.WebSocket);
  if (WebSocket === undefined) {
    throw new TypeError("There is no WebSocket here: use Node 22 or newer, or give one.");
  }
  return {
    // Called as plain functions: a browser's refuse to be called as methods of another object.
    setTimeout: (callback, wait) => setTimeout(callback, wait),
    clearTimeout: (timer) => clearTimeout(timer),
    now: () => Date.now(),
    random: () => Math.random(),
    events: typeof globalThis.addEventListener === "function" ? globalThis : new EventTarget(),
    ...platform,
    WebSocket,
  };
}
