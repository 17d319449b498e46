/*! django-celery-realtime, BSD-3-Clause. Built from static/realtime/src. */
import type { ConnectionState, Realtime, RealtimeError, Status, TaskHandle } from "./client.js";
/**
 * Describes a status in one line: its state, progress and error.
 * @param {Pick<Status, "state" | "progress" | "error" | "cancelling">} status
 * @param {Texts} [texts]
 * @returns {string}
 */
export function describe(status: Pick<Status, "state" | "progress" | "error" | "cancelling">, texts?: Texts): string;
/** @typedef {Status} Status */
/**
 * A text for each state, by the state's name, and the other texts of `TEXTS`.
 * @typedef {Record<string, string>} Texts
 */
/**
 * The element's texts. The page's configuration and the attribute `texts` (a JSON object) override
 * them.
 * @type {Texts}
 */
export const TEXTS: Texts;
/**
 * A text for each state, by the state's name, and the other texts of `TEXTS`.
 */
export type Texts = Record<string, string>;
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
