/**
 * The demo page: shows the tasks live, and sends the forms without a reload. All data of a task is
 * shown as text, never as HTML.
 */

import { connect } from "../realtime/client.js";
import { Cards, clock, setText } from "./cards.js";

const list = /** @type {HTMLElement} */ (document.getElementById("tasks"));
const starts = /** @type {HTMLElement} */ (document.querySelector(".starts"));
const cards = new Cards(list);
const client = connect();

/* The connection */

/** Why the subscription failed; empty if it has not failed. */
let problem = "";
let isSubscribed = false;

function showConnection() {
  const { state, reason, delayed } = client.state;
  if (problem !== "") show("offline", "offline", problem);
  else if (delayed) show("connecting", "delayed", reason);
  else if (state === "connected") {
    if (isSubscribed) show("live", "live", "");
    else show("connecting", "connecting…", "");
  } else if (state === "disconnected") show("offline", "offline", `${reason}; load the page again`);
  else if (reason === "") show("connecting", "connecting…", "");
  else show("offline", "offline", `${reason}; trying again by itself`);
}

/**
 * @param {string} state
 * @param {string} text Shown, and announced by screen readers.
 * @param {string} reason Shown only.
 */
function show(state, text, reason) {
  const connection = /** @type {HTMLElement} */ (document.getElementById("connection"));
  connection.dataset.state = state;
  setText(document.getElementById("connection-state"), text);
  setText(document.getElementById("connection-reason"), reason);
}

/* The subscription: the client renews the page's token, or requests one if the page has none */

const topic = client.topic("user:me", { token: list.dataset.token || undefined, limit: cards.shown });
client.onState(showConnection);
topic.onSnapshot((tasks) => {
  isSubscribed = true;
  showConnection();
  cards.replace([...tasks.values()]);
});
topic.onStatus((status) => {
  const change = cards.show(status);
  if (change !== null) announce(change);
  focusStarted(status.task_id);
});
topic.onError((error) => {
  problem = `${error.message} Load the page again.`;
  showConnection();
});

/* Announcements for screen readers: the changes of state within 0.7 s, as one text */

/** @type {string[]} */
let changes = [];

/** @param {string} text */
function announce(text) {
  changes.push(text);
  if (changes.length > 1) return;
  setTimeout(() => {
    const text = changes.length > 3 ? `${changes.length} changes; last: ${changes.at(-1)}` : changes.join(". ");
    setText(document.getElementById("news"), text);
    changes = [];
  }, 700);
}

/* The forms */

/** Tasks that this page has just started: the first one's card gets the focus. @type {Set<string>} */
const started = new Set();

/** @param {string} id */
function focusStarted(id) {
  if (!started.delete(id)) return;
  started.clear();
  // Not if the user has moved the focus meanwhile.
  const active = document.activeElement;
  if (active === null || active === document.body || active.closest(".starts button")) {
    cards.focus(id);
  }
}

document.addEventListener("submit", (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  if (form.closest(".starts") !== null) {
    event.preventDefault();
    start(form, /** @type {HTMLElement | null} */ (event.submitter));
  } else if (form.dataset.part === "cancel") {
    event.preventDefault();
    cancel(form);
  }
});

/**
 * @param {HTMLFormElement} form
 * @param {HTMLElement | null} submitter
 */
async function start(form, submitter) {
  if (form.ariaBusy === "true") return;
  const data = new FormData(form, submitter);
  if (data.get("sample")) data.delete("uploads");
  const bytes = data.getAll("uploads").reduce((sum, file) => sum + /** @type {File} */ (file).size, 0);
  if (bytes > Number(starts.dataset.maxBytes)) {
    refuse(form, starts.dataset.tooLarge ?? "");
    return;
  }
  form.ariaBusy = "true";
  try {
    const response = await send(form, data);
    const answer = await response.json();
    if (!response.ok) {
      refuse(form, answer.error.message);
      return;
    }
    refuse(form, "");
    for (const input of form.querySelectorAll("input[type=file]")) {
      /** @type {HTMLInputElement} */ (input).value = "";
    }
    for (const id of answer.tasks) started.add(id);
    for (const id of answer.tasks) if (cards.has(id)) focusStarted(id);
  } catch {
    refuse(form, "The service did not answer. Check your tasks before you try again.");
  } finally {
    form.ariaBusy = null;
  }
}

/**
 * @param {HTMLFormElement} form
 * @param {FormData} data
 */
function send(form, data) {
  return fetch(form.action, {
    method: "POST",
    headers: { Accept: "application/json" },
    body: data,
  });
}

/**
 * Shows an error at the form; hides it if the message is empty.
 * @param {HTMLFormElement} form
 * @param {string} message
 */
function refuse(form, message) {
  const problem = /** @type {HTMLElement} */ (form.querySelector(".problem"));
  problem.hidden = message === "";
  problem.textContent = message;
  const input = /** @type {HTMLInputElement | null} */ (form.querySelector("input[type=file]"));
  if (input === null) return;
  if (message === "") input.removeAttribute("aria-invalid");
  else {
    input.ariaInvalid = "true";
    input.focus();
  }
}

/** @param {HTMLFormElement} form */
async function cancel(form) {
  if (form.ariaBusy === "true") return;
  form.ariaBusy = "true";
  try {
    const response = await send(form, new FormData(form));
    // 404: the task has ended, and its card will show that.
    if (!response.ok && response.status !== 404) throw new Error(`HTTP ${response.status}`);
  } catch {
    announce("The request to cancel failed. Try again");
    form.ariaBusy = null;
  }
}

document.addEventListener("click", (event) => {
  const button = /** @type {HTMLElement} */ (event.target);
  const id = /** @type {HTMLElement | null} */ (button.closest("li.task"))?.dataset.id;
  if (button.dataset.part === "whole" && id !== undefined) getResult(id);
});

/** @param {string} id */
async function getResult(id) {
  try {
    const response = await fetch(client.resultUrl(id), {
      headers: { Authorization: `Bearer ${await client.requestToken(["user:me"])}` },
    });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    cards.showResult(id, await response.json());
  } catch {
    announce("The complete result is not available now");
  }
}

// The server renders times in UTC: show them in the time zone of the browser.
for (const time of /** @type {NodeListOf<HTMLTimeElement>} */ (
  document.querySelectorAll("time[datetime]")
)) {
  time.textContent = clock(time.dateTime);
}
