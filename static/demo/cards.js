/**
 * The list of cards. `project/cards.py` makes the same texts when the server renders the page, and
 * passes its tables of texts to this script.
 */

import { isTerminal } from "../realtime/client.js";

/** @typedef {import("../realtime/client.js").Status} Status */
/** @typedef {Record<string, any>} Result */

/**
 * @typedef {{names: Record<string, string>, states: Record<string, [string, string]>,
 *   shown: number, short: number}} Texts
 */

/** @type {Texts} */
const texts = JSON.parse(document.getElementById("texts")?.textContent ?? "");
const { shown, short } = texts;
// Maps and not objects: a task may have any name, even `constructor`.
const names = new Map(Object.entries(texts.names));
const states = new Map(Object.entries(texts.states));

export class Cards {
  #list;
  #template = /** @type {HTMLTemplateElement} */ (document.getElementById("task"));

  /** The cards, by task id. @type {Map<string, HTMLElement>} */
  #cards = new Map();

  /** The most cards that the list shows. */
  shown = shown;

  /** @param {HTMLElement} list */
  constructor(list) {
    this.#list = list;
    for (const card of list.querySelectorAll("li")) this.#cards.set(card.dataset.id ?? "", card);
  }

  /** @param {string} id */
  has(id) {
    return this.#cards.has(id);
  }

  /**
   * Shows a result that was too large to be pushed.
   * @param {string} id
   * @param {unknown} result
   */
  showResult(id, result) {
    const card = this.#cards.get(id);
    if (card === undefined) return;
    this.#result(card, result);
    part(card, "truncated").hidden = true;
    /** @type {HTMLDetailsElement} */ (part(card, "result")).open = true;
    part(card, "result-text").focus();
  }

  /** @param {string} id */
  focus(id) {
    this.#cards.get(id)?.querySelector("article")?.focus();
  }

  /**
   * Shows these tasks, and removes the cards of all others.
   * @param {Status[]} tasks
   */
  replace(tasks) {
    const present = new Set(tasks.map((status) => status.task_id));
    for (const [id, card] of this.#cards) {
      if (present.has(id)) continue;
      card.remove();
      this.#cards.delete(id);
    }
    for (const status of tasks) this.#fill(this.#card(status), status);
    this.#bound();
  }

  /**
   * Shows a task. Returns the text to announce if its state has changed, otherwise null.
   * @param {Status} status
   * @returns {string | null}
   */
  show(status) {
    const isNew = !this.has(status.task_id);
    const card = this.#card(status);
    if (isNew) card.classList.add("new");
    const before = part(card, "state").textContent;
    this.#fill(card, status);
    this.#bound();
    const state = part(card, "state").textContent;
    return state === before && !isNew ? null : `${part(card, "name").textContent}: ${state}`;
  }

  /**
   * Returns the card of a task. A new card is inserted by age, the newest first.
   * @param {Status} status
   */
  #card(status) {
    const known = this.#cards.get(status.task_id);
    if (known !== undefined) return known;
    const copy = /** @type {DocumentFragment} */ (this.#template.content.cloneNode(true));
    const card = /** @type {HTMLElement} */ (copy.querySelector("li"));
    card.dataset.id = status.task_id;
    const published = status.published_at ?? new Date().toISOString();
    card.dataset.published = published;
    const older = [...this.#list.children].find((other) => {
      return (/** @type {HTMLElement} */ (other).dataset.published ?? "") < published;
    });
    this.#list.insertBefore(card, older ?? null);
    this.#cards.set(status.task_id, card);
    return card;
  }

  /** Removes the oldest cards beyond the limit, and shows a note if there are none. */
  #bound() {
    for (const card of [...this.#list.children].slice(shown)) {
      card.remove();
      this.#cards.delete(/** @type {HTMLElement} */ (card).dataset.id ?? "");
    }
    const empty = /** @type {HTMLElement} */ (document.getElementById("empty"));
    empty.hidden = this.#cards.size > 0;
  }

  /**
   * @param {HTMLElement} card
   * @param {Status} status
   */
  #fill(card, status) {
    const { task_id: id, attempt, run, progress, error, truncated } = status;
    const hasEnded = isTerminal(status);
    const { text, tone, at } = describe(status);
    card.dataset.tone = tone;
    const name = names.get(status.name ?? "") ?? (status.name || "Task");
    setPart(card, "name", name);
    setPart(card, "cancel-name", name);
    part(card, "article").ariaLabel = name;
    part(card, "progress").ariaLabel = name;
    setPart(card, "state", text);
    showTime(card, "at", at);
    // Only once: a retry is published again, but the card keeps its place and its time.
    if (part(card, "published").hidden) showTime(card, "published", status.published_at);
    const tries = [];
    if (attempt > 0) tries.push(`attempt ${attempt + 1}`);
    if (run > 1) tries.push(`run ${run}`);
    setPart(card, "tries", tries.join(", "));
    this.#bar(card, status);
    setPart(card, "message", progress?.message ?? "");
    part(card, "error").hidden = error === null;
    setPart(card, "error-type", error?.type ?? "");
    setPart(card, "error-message", error?.message ?? "");
    this.#result(card, status.result);
    part(card, "truncated").hidden = !truncated;
    part(card, "whole").hidden = false;
    const form = part(card, "cancel");
    part(card, "cancel-id").setAttribute("value", id);
    if (hasEnded && form.contains(document.activeElement)) this.focus(id);
    form.hidden = hasEnded;
  }

  /**
   * @param {HTMLElement} card
   * @param {Status} status
   */
  #bar(card, status) {
    const { state, progress } = status;
    const isRunning = !isTerminal(status) && !["PENDING", "RECEIVED", "RETRY", "STALLED"].includes(state);
    part(card, "bar").hidden = !isRunning;
    if (!isRunning) return;
    const bar = /** @type {HTMLProgressElement} */ (part(card, "progress"));
    const { current = null, total = null } = progress ?? {};
    // A task can report any numbers: more than the total, or negative ones.
    if (current === null || total === null || total <= 0) {
      bar.removeAttribute("value");
      setPart(card, "percent", current === null ? "" : String(current));
      return;
    }
    bar.max = total;
    bar.value = current;
    const percent = Math.min(Math.max((100 * current) / total, 0), 100);
    setPart(card, "percent", `${Math.floor(percent)} %`);
  }

  /**
   * @param {HTMLElement} card
   * @param {unknown} result
   */
  #result(card, result) {
    const { bad_rows: badRows = [], ...rest } = isObject(result) ? result : {};
    const shownResult = isObject(result) && Array.isArray(badRows) && badRows.length ? rest : result;
    const table = part(card, "bad-rows");
    table.hidden = shownResult === result;
    if (!table.hidden) {
      const rows = badRows.map((/** @type {Result} */ row) => tableRow([row?.line, row?.reason]));
      table.querySelector("tbody")?.replaceChildren(...rows);
    }
    const text = shownResult == null ? "" : JSON.stringify(shownResult, null, 2);
    const details = /** @type {HTMLDetailsElement} */ (part(card, "result"));
    if (details.hidden && text !== "") details.open = text.split("\n").length <= short;
    details.hidden = text === "";
    setText(part(card, "result-text"), text);
  }
}

/**
 * Returns the text for a task's state, its tone, and the time that belongs to the text.
 * @param {Status} status
 * @returns {{text: string, tone: string, at: string | null}}
 */
function describe(status) {
  const { state, retry_at: retryAt, eta } = status;
  if (status.cancelling && !isTerminal(status)) {
    return { text: "cancelling", tone: "warn", at: null };
  }
  // A worker receives the next attempt at once, and keeps it until it is due.
  if ((state === "RETRY" || state === "RECEIVED") && retryAt !== null) {
    return { text: "retrying at", tone: "warn", at: retryAt };
  }
  if (state === "RECEIVED" && eta !== null) {
    return { text: "starts at", tone: "quiet", at: eta };
  }
  const [text, tone] = states.get(state) ?? ["running", "busy"];
  return { text, tone, at: null };
}

/**
 * @param {HTMLElement} card
 * @param {string} name
 */
function part(card, name) {
  return /** @type {HTMLElement} */ (card.querySelector(`[data-part="${name}"]`));
}

/**
 * Sets the text of a part, which is hidden while it is empty.
 * @param {HTMLElement} card
 * @param {string} name
 * @param {string} text
 */
function setPart(card, name, text) {
  const element = part(card, name);
  setText(element, text);
  element.hidden = text === "";
}

/**
 * Sets a text if it differs. Setting the same text would announce it again, and remove the user's
 * selection.
 * @param {Element | null} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element !== null && element.textContent !== text) element.textContent = text;
}

/**
 * @param {HTMLElement} card
 * @param {string} name
 * @param {string | null} moment
 */
function showTime(card, name, moment) {
  const time = /** @type {HTMLTimeElement} */ (part(card, name));
  time.hidden = moment === null;
  if (moment === null) return;
  time.dateTime = moment;
  setText(time, clock(moment));
}

/**
 * Returns the time of day in the browser's time zone.
 * @param {string} moment
 */
export function clock(moment) {
  return new Date(moment).toLocaleTimeString([], { hourCycle: "h23" });
}

/** @param {unknown[]} cells */
function tableRow(cells) {
  const row = document.createElement("tr");
  for (const cell of cells) row.insertCell().textContent = cellText(cell);
  return row;
}

/**
 * Returns a text as it is, and any other value as JSON. `String()` calls the method `toString` of an
 * object, and a task's result may have such a key.
 * @param {unknown} value
 * @returns {string}
 */
function cellText(value) {
  if (value == null || typeof value === "string") return value ?? "";
  return JSON.stringify(value);
}

/**
 * @param {unknown} value
 * @returns {value is Result}
 */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
