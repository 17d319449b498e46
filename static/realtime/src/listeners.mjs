/**
 * Handlers that do not affect each other: an error of one is reported, and the others are called.
 */

/** @typedef {() => void} Undo Removes a handler. */

/**
 * Reports an error the way an uncaught one is, without interrupting the caller.
 * @param {unknown} error
 */
export function report(error) {
  if (typeof globalThis.reportError === "function") globalThis.reportError(error);
  else console.error(error);
}

/**
 * @template T
 * @typedef {{handler: (value: T) => void, isReady: boolean}} Entry
 */

/** @template T */
export class Listeners {
  /** @type {Set<Entry<T>>} */
  #entries = new Set();

  /**
   * Adds a handler. It is first called with the present values, right after the code that runs now,
   * so that a handler that is added late misses nothing.
   * @param {(value: T) => void} handler
   * @param {() => Iterable<T>} now Returns the present values.
   * @returns {Undo}
   */
  add(handler, now) {
    const entry = { handler, isReady: false };
    this.#entries.add(entry);
    queueMicrotask(() => {
      entry.isReady = true;
      for (const value of [...now()]) this.#call(entry, value);
    });
    return () => {
      this.#entries.delete(entry);
    };
  }

  /** @param {T} value */
  emit(value) {
    for (const entry of [...this.#entries]) if (entry.isReady) this.#call(entry, value);
  }

  clear() {
    this.#entries.clear();
  }

  /**
   * @param {Entry<T>} entry
   * @param {T} value
   */
  #call(entry, value) {
    if (!this.#entries.has(entry)) return;
    try {
      entry.handler(value);
    } catch (error) {
      report(error);
    }
  }
}
