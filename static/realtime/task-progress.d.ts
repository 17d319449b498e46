/*! django-celery-realtime, BSD-3-Clause. Built from static/realtime/src. */
import type { ConnectionState, Realtime, RealtimeError, Status, TaskHandle } from "./client.js";
/**
 * A status in words.
 * @param {Pick<Status, "state" | "progress" | "error" | "cancelling">} status
 * @param {Words} [words]
 * @returns {string}
 */
export function describe(status: Pick<Status, "state" | "progress" | "error" | "cancelling">, words?: Words): string;
/** @typedef {Status} Status */
/**
 * The texts for the states, by their names, and the other texts of `WORDS`.
 * @typedef {Record<string, string>} Words
 */
/**
 * What the element shows where neither the page's configuration nor the attribute `words` (a JSON
 * object) has another text.
 * @type {Words}
 */
export const WORDS: Words;
/**
 * The texts for the states, by their names, and the other texts of `WORDS`.
 */
export type Words = Record<string, string>;
export class TaskProgress extends HTMLElement {
    static observedAttributes: string[];
    /** The task that is shown; null without the attribute `task-id`. */
    get task(): TaskHandle | null;
    connectedCallback(): void;
    disconnectedCallback(): void;
    attributeChangedCallback(): void;
    #private;
}
export type { ConnectionState, Realtime, RealtimeError, Status, TaskHandle };
export {};
declare global {
    interface HTMLElementTagNameMap {
        "task-progress": TaskProgress;
    }
}
