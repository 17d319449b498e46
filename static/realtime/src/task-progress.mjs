/**
 * The element `<task-progress task-id="…" token="…" label="…">` shows a task's state and progress,
 * live. `{% task_progress task %}` renders it.
 *
 * For style sheets the attribute `state` has the task's state, and `connection` that of the
 * connection. The event `task-status` has each status as `detail`. The element shows everything
 * that comes from a task as text.
 */

import { connect, isTerminal } from "./client.mjs";
import { report } from "./listeners.mjs";
import { readConfig } from "./platform.mjs";
import { describe, stateText, TEXTS } from "./texts.mjs";

export { describe, TEXTS };

/** @typedef {import("./client.mjs").ConnectionState} ConnectionState */
/** @typedef {import("./client.mjs").Realtime} Realtime */
/** @typedef {import("./client.mjs").RealtimeError} RealtimeError */
/** @typedef {import("./client.mjs").Status} Status */
/** @typedef {import("./client.mjs").TaskHandle} TaskHandle */
/** @typedef {import("./texts.mjs").Texts} Texts */

/** Progress is announced at most this often, in milliseconds; a new state at once. */
const ANNOUNCE_INTERVAL = 5000;
/** A connection that is lost for less than this is not shown as lost, in milliseconds. */
const OFFLINE_WAIT = 5000;

/** One client for all elements of a page. @type {Realtime | null} */
let client = null;

export class TaskProgress extends HTMLElement {
  static observedAttributes = ["task-id", "token", "label", "texts"];

  /** @type {TaskHandle | null} */
  #task = null;
  #token = "";
  /** @type {Status | null} */
  #status = null;
  /** A cache; attributes that change clear it. @type {Texts | null} */
  #knownTexts = null;
  #isScheduled = false;
  /** The subscription has ended with an error. */
  #hasError = false;
  #announced = "";
  #announcedAt = -Infinity;
  /** @type {(() => void) | null} */
  #stopStates = null;
  /** @type {any} */
  #timer = null;

  /** The task that is shown; null without the attribute `task-id`. */
  get task() {
    return this.#task;
  }

  connectedCallback() {
    this.#schedule();
  }

  disconnectedCallback() {
    this.#schedule();
  }

  attributeChangedCallback() {
    this.#schedule();
  }

  /** Updates once after code that sets several attributes or moves the element. */
  #schedule() {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.#knownTexts = null;
      this.#update();
    });
  }

  #update() {
    const id = this.isConnected ? (this.getAttribute("task-id") ?? "") : "";
    const token = this.getAttribute("token") ?? "";
    if (id !== (this.#task?.id ?? "") || (id !== "" && token !== this.#token)) {
      this.#subscribe(id, token);
    }
    if (!this.isConnected) return;
    const label = this.getAttribute("label") ?? "";
    setText(this.#part("label"), label);
    this.#part("label").hidden = label === "";
    this.#bar.setAttribute("aria-label", label || (this.#texts.progress ?? ""));
    if (this.#status !== null) this.#show(this.#status);
  }

  /**
   * Subscribes to another task, or to the same one with another token; without an id, to none.
   * @param {string} id
   * @param {string} token
   */
  #subscribe(id, token) {
    const before = this.#task;
    this.#token = token;
    this.#task = null;
    this.#hasError = false;
    if (id !== "") {
      if (before !== null && before.id !== id) this.#reset();
      client ??= connect();
      const task = client.task(id, { token: token || undefined });
      this.#task = task;
      task.onStatus((status) => this.#onStatus(status));
      task.onGone(() => this.#showFailure(this.#texts.gone ?? ""));
      task.onError((error) => {
        this.#hasError = true;
        this.#showFailure(error.message);
      });
      this.#stopStates ??= client.onState((state) => this.#onState(state));
    } else {
      if (before !== null && this.isConnected) this.#reset();
      this.#stopStates?.();
      this.#stopStates = null;
      clearTimeout(this.#timer);
    }
    // After the new handle was made: if the task is the same, its subscription stays.
    before?.close();
  }

  #reset() {
    this.#status = null;
    this.removeAttribute("state");
    this.#bar.hidden = false;
    this.#bar.removeAttribute("value");
    setText(this.#part("text"), "");
  }

  /** @param {Status} status */
  #onStatus(status) {
    this.#status = status;
    this.#show(status);
    this.dispatchEvent(new CustomEvent("task-status", { detail: status, bubbles: true }));
  }

  /** @param {Status} status */
  #show(status) {
    const texts = this.#texts;
    this.setAttribute("state", status.state);
    this.#bar.hidden = false;
    showProgress(this.#bar, status);
    setText(this.#part("text"), describe(status, texts));
    if (isTerminal(status)) this.#showConnection("");
    this.#announce(status, texts);
  }

  /**
   * Changes the live region, but not with every status: a screen reader reads it aloud.
   * @param {Status} status
   * @param {Texts} texts
   */
  #announce(status, texts) {
    const text = stateText(status, texts);
    const now = performance.now();
    if (text === this.#announced && now - this.#announcedAt < ANNOUNCE_INTERVAL) return;
    this.#announced = text;
    this.#announcedAt = now;
    const label = this.getAttribute("label");
    const details = describe(status, texts);
    setText(this.#part("announcement"), label ? `${label}: ${details}` : details);
  }

  /** @param {string} text */
  #showFailure(text) {
    this.#bar.hidden = true;
    this.#showConnection("");
    setText(this.#part("text"), text);
    setText(this.#part("announcement"), text);
  }

  /** @param {ConnectionState} state */
  #onState({ state, reason, delayed }) {
    this.setAttribute("connection", delayed ? "delayed" : state);
    clearTimeout(this.#timer);
    const { offline, delayed: late } = this.#texts;
    if (delayed) this.#showConnection(late ?? "");
    else if (state === "connected" || reason === "") this.#showConnection("");
    else if (state === "disconnected") this.#showConnection(`${offline}: ${reason}`);
    else this.#timer = setTimeout(() => this.#showConnection(`${offline}: ${reason}`), OFFLINE_WAIT);
  }

  /** @param {string} text */
  #showConnection(text) {
    // A task that has ended, or whose subscription failed, needs no connection.
    const isOver = this.#hasError || (this.#status !== null && isTerminal(this.#status));
    setText(this.#part("connection"), isOver || text === "" ? "" : `(${text})`);
  }

  /** @returns {Texts} */
  get #texts() {
    this.#knownTexts ??= { ...TEXTS, ...readConfig().texts, ...this.#ownTexts() };
    return /** @type {Texts} */ (this.#knownTexts);
  }

  /** @returns {Texts} */
  #ownTexts() {
    try {
      return JSON.parse(this.getAttribute("texts") || "{}");
    } catch (error) {
      report(error);
      return {};
    }
  }

  get #bar() {
    return /** @type {HTMLProgressElement} */ (this.#part("bar"));
  }

  /**
   * Returns a part of the element, which the server has rendered or this call makes.
   * @param {"label" | "bar" | "text" | "connection" | "announcement"} name
   * @returns {HTMLElement}
   */
  #part(name) {
    if (this.querySelector('[data-part="announcement"]') === null) this.#build();
    return /** @type {HTMLElement} */ (this.querySelector(`[data-part="${name}"]`));
  }

  #build() {
    for (const [name, tag] of Object.entries(PARTS)) {
      if (this.querySelector(`[data-part="${name}"]`) !== null) continue;
      const part = document.createElement(tag);
      part.dataset.part = name;
      // The parts that the server rendered have no space after the last.
      this.append(" ", part);
    }
    this.#hideFromScreenReaders("label");
    this.#hideFromScreenReaders("text");
    const announcement = this.#part("announcement");
    announcement.setAttribute("role", "status");
    // By script, since a strict policy refuses style attributes. Screen readers still read it.
    Object.assign(announcement.style, {
      position: "absolute", width: "1px", height: "1px", overflow: "hidden",
      clipPath: "inset(50%)", whiteSpace: "nowrap",
    });
  }

  /**
   * Hides a part from screen readers: the bar's name is the label, and the live region has the text.
   * @param {"label" | "text"} name
   */
  #hideFromScreenReaders(name) {
    this.#part(name).setAttribute("aria-hidden", "true");
  }
}

const PARTS = {
  label: "span",
  bar: "progress",
  text: "span",
  connection: "span",
  announcement: "span",
};

/**
 * @param {HTMLProgressElement} bar
 * @param {Status} status
 */
function showProgress(bar, status) {
  const { current = null, total = null } = status.progress ?? {};
  if (isTerminal(status)) {
    bar.max = 1;
    bar.value = status.state === "SUCCESS" ? 1 : 0;
  } else if (current !== null && total !== null && total > 0) {
    bar.max = total;
    bar.value = current;
  } else {
    bar.removeAttribute("value");
  }
}

/**
 * Sets a text if it differs: to set it again would announce it, and remove the user's selection.
 * @param {HTMLElement} element
 * @param {string} text
 */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Another copy of this file may be on the page.
if (customElements.get("task-progress") === undefined) {
  customElements.define("task-progress", TaskProgress);
}
