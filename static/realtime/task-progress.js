/**
 * `<task-progress task-id="…" token="…" label="…">`: a task's state and progress, live.
 *
 *     <script type="module" src="/static/realtime/task-progress.js"></script>
 *     <task-progress task-id="…" token="…" label="Import of people.csv"></task-progress>
 *
 * The attribute `state` holds the task's state, for style sheets; the event `task-status` carries
 * each status as `detail`. Everything a task says is shown as text.
 */

import { connect, isTerminal } from "./client.js";

/** @typedef {import("./client.js").Realtime} Realtime */
/** @typedef {import("./client.js").Status} Status */
/** @typedef {import("./client.js").TaskHandle} TaskHandle */

/** One connection for all elements of a page. @type {Realtime | null} */
let shared = null;

export class TaskProgress extends HTMLElement {
  /** @type {TaskHandle | null} */
  #task = null;

  connectedCallback() {
    const id = this.getAttribute("task-id") ?? "";
    const token = this.getAttribute("token") ?? undefined;
    const bar = document.createElement("progress");
    bar.setAttribute("aria-label", this.getAttribute("label") ?? "Progress");
    const text = document.createElement("span");
    text.setAttribute("role", "status");
    this.replaceChildren(bar, " ", text);
    shared ??= connect();
    this.#task = shared.task(id, { token });
    this.#task.onStatus((status) => {
      this.setAttribute("state", status.state);
      showProgress(bar, status);
      text.textContent = describe(status);
      this.dispatchEvent(new CustomEvent("task-status", { detail: status, bubbles: true }));
    });
    this.#task.onError((error) => {
      bar.hidden = true;
      text.textContent = error.message;
    });
  }

  disconnectedCallback() {
    this.#task?.close();
    this.#task = null;
  }
}

/**
 * @param {HTMLProgressElement} bar
 * @param {Status} status
 */
function showProgress(bar, status) {
  const { progress } = status;
  if (isTerminal(status)) {
    bar.max = 1;
    bar.value = status.state === "SUCCESS" ? 1 : 0;
  } else if (progress !== null && progress.total !== null && progress.total > 0) {
    bar.max = progress.total;
    bar.value = progress.current;
  } else {
    bar.removeAttribute("value");
  }
}

/**
 * A status in words.
 * @param {Status} status
 */
export function describe({ state, progress, error }) {
  if (error !== null) return `${state}: ${error.message || error.type}`;
  if (progress === null) return state;
  const { current, total, message } = progress;
  const count = total === null ? `${current}` : `${current} of ${total}`;
  return `${state}: ${count}${message ? `, ${message}` : ""}`;
}

customElements.define("task-progress", TaskProgress);
