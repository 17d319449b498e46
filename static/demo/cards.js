/**
 * The list of cards. `project/cards.py` says the same things when the page is rendered, and
 * gives the words.
 */

import { isTerminal } from "../realtime/client.js";

/** @typedef {import("../realtime/client.js").Status} Status */
/** @typedef {Record<string, any>} Result */

/**
 * @typedef {{names: Record<string, string>, states: Record<string, [string, string]>,
 *   shown: number, short: number}} Words
 */

/** @type {Words} */
const words = JSON.parse(document.getElementById("words")?.textContent ?? "");
const { shown, short } = words;
// Maps, because a task may be called anything, `constructor` too.
const names = new Map(Object.entries(words.names));
const states = new Map(Object.entries(words.states));

export class Cards {
  #list;
  #template = /** @type {HTMLTemplateElement} */ (document.getElementById("task"));

  /** By task id. @type {Map<string, HTMLElement>} */
  #cards = new Map();

  /** As many cards as there are at most. */
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
   * Shows these tasks and no others.
   * @param {Status[]} tasks
   */
  replace(tasks) {
    const there = new Set(tasks.map((status) => status.task_id));
    for (const [id, card] of this.#cards) {
      if (there.has(id)) continue;
      card.remove();
      this.#cards.delete(id);
    }
    for (const status of tasks) this.#fill(this.#card(status), status);
    this.#bound();
  }

  /**
   * Shows a task as it now is. Returns what there is to say aloud: its state, if that is new.
   * @param {Status} status
   * @returns {string | null}
   */
  show(status) {
    const isNew = !this.has(status.task_id);
    const card = this.#card(status);
    if (isNew) card.classList.add("new");
    const before = part(card, "word").textContent;
    this.#fill(card, status);
    this.#bound();
    const word = part(card, "word").textContent;
    return word === before && !isNew ? null : `${part(card, "name").textContent}: ${word}`;
  }

  /**
   * The card of a task, made in its place where there is none: newest first.
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

  /** Keeps as many cards as are shown, the newest, and says so where there are none. */
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
    const { word, look, at } = describe(status);
    card.dataset.look = look;
    const name = names.get(status.name ?? "") ?? status.name ?? "Task";
    say(card, "name", name);
    say(card, "cancel-name", name);
    part(card, "name").id = `name-${id}`;
    part(card, "article").setAttribute("aria-labelledby", `name-${id}`);
    part(card, "progress").setAttribute("aria-labelledby", `name-${id}`);
    say(card, "word", word);
    showTime(card, "at", at);
    // The first one: a retry is published anew, and the cards stay where they are.
    if (part(card, "published").hidden) showTime(card, "published", status.published_at);
    const tries = [];
    if (attempt > 0) tries.push(`attempt ${attempt + 1}`);
    if (run > 1) tries.push(`run ${run}`);
    say(card, "tries", tries.join(", "));
    this.#bar(card, status);
    say(card, "message", progress?.message ?? "");
    part(card, "error").hidden = error === null;
    say(card, "error-type", error?.type ?? "");
    say(card, "error-message", error?.message ?? "");
    this.#result(card, status.result);
    part(card, "truncated").hidden = !truncated;
    part(card, "whole").hidden = false;
    const form = part(card, "cancel");
    form.setAttribute("action", `/cancel/${id}/`);
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
    if (current === null || !total) {
      bar.removeAttribute("value");
      say(card, "percent", current === null ? "" : String(current));
      return;
    }
    bar.max = total;
    bar.value = current;
    say(card, "percent", `${Math.floor((100 * current) / total)} %`);
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
      const rows = badRows.map((/** @type {Result} */ row) => tableRow([row.line, row.reason]));
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
 * The word for a task's state, its look, and the time that belongs to the word.
 * @param {Status} status
 * @returns {{word: string, look: string, at: string | null}}
 */
function describe(status) {
  const { state, retry_at: retryAt, eta } = status;
  if (status.cancelling && !isTerminal(status)) {
    return { word: "cancelling", look: "warn", at: null };
  }
  // A worker receives the next attempt at once, and holds it until its time.
  if ((state === "RETRY" || state === "RECEIVED") && retryAt !== null) {
    return { word: "retrying at", look: "warn", at: retryAt };
  }
  if (state === "RECEIVED" && eta !== null) {
    return { word: "starts at", look: "quiet", at: eta };
  }
  const [word, look] = states.get(state) ?? ["running", "busy"];
  return { word, look, at: null };
}

/**
 * @param {HTMLElement} card
 * @param {string} name
 */
function part(card, name) {
  return /** @type {HTMLElement} */ (card.querySelector(`[data-part="${name}"]`));
}

/**
 * Puts a text in its place, which is hidden while there is none.
 * @param {HTMLElement} card
 * @param {string} name
 * @param {string} text
 */
function say(card, name, text) {
  const place = part(card, name);
  setText(place, text);
  place.hidden = text === "";
}

/**
 * Sets a text if it is another one: setting it again would be announced, and undo a selection.
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
 * The time of day of a moment, where the person is.
 * @param {string} moment
 */
export function clock(moment) {
  return new Date(moment).toLocaleTimeString([], { hourCycle: "h23" });
}

/** @param {unknown[]} cells */
function tableRow(cells) {
  const row = document.createElement("tr");
  for (const cell of cells) row.insertCell().textContent = String(cell);
  return row;
}

/**
 * @param {unknown} value
 * @returns {value is Result}
 */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
