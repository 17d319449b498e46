/*! django-celery-realtime, BSD-3-Clause. Built from static/realtime/src. */
/**
 * A status in words.
 * @param {Pick<Status, "state" | "progress" | "error" | "cancelling">} status
 * @param {Words} [words]
 * @returns {string}
 */
export function describe(status: Pick<Status, "state" | "progress" | "error" | "cancelling">, words?: Words): string;
/**
 * What the element shows where neither the page's configuration nor the attribute `words` (a JSON
 * object) has another text.
 * @type {Words}
 */
export const WORDS: Words;
export class TaskProgress extends HTMLElement {
    static observedAttributes: string[];
    /** The task that is shown; null without the attribute `task-id`. */
    get task(): import("./client.js").TaskHandle | null;
    connectedCallback(): void;
    disconnectedCallback(): void;
    attributeChangedCallback(): void;
    #private;
}
export type ConnectionState = import("./client.js").ConnectionState;
export type Realtime = import("./client.js").Realtime;
export type RealtimeError = import("./client.js").RealtimeError;
export type Status = import("./client.js").Status;
export type TaskHandle = import("./client.js").TaskHandle;
/**
 * The texts for the states, and those of `WORDS`.
 */
export type Words = Record<string, string>;
declare global {
    interface HTMLElementTagNameMap {
        "task-progress": TaskProgress;
    }
}
