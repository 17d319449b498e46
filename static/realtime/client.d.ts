/*! django-celery-realtime, BSD-3-Clause. Built from static/realtime/src. */
/**
 * The part of a WebSocket that is used.
 */
export type Socket = {
    onmessage: ((event: any) => void) | null;
    onclose: ((event: any) => void) | null;
    send: (text: string) => void;
    close: (code?: number) => void;
};
export type Platform = {
    WebSocket: new (url: string) => Socket;
    fetch: (url: string, options?: RequestInit) => Promise<Response>;
    setTimeout: (callback: () => void, milliseconds: number) => any;
    clearTimeout: (timer: any) => void;
    /**
     * Milliseconds of a monotonic clock: setting the machine's clock
     * does not move it.
     */
    now: () => number;
    /**
     * Milliseconds since 1970. Compared with `now` to detect sleep.
     */
    wallClock: () => number;
    /**
     * From 0 to below 1.
     */
    random: () => number;
    warn: (text: string) => void;
    /**
     *   Receives `online`, `pageshow`, `pagehide`, `resume` and `visibilitychange`: the window.
     */
    events: Pick<EventTarget, "addEventListener" | "removeEventListener">;
    /**
     * The page's address; none in Node.
     */
    location: string | undefined;
    config: Config;
};
/**
 * What `{% realtime_script %}` puts into the page.
 */
export type Config = {
    /**
     * The WebSocket's path.
     */
    socket?: string | undefined;
    /**
     * The path below which `realtime.urls` is included.
     */
    http?: string | undefined;
    csrf_token?: string | undefined;
    csrf_header?: string | undefined;
    csrf_cookie?: string | undefined;
    /**
     * For `<task-progress>`.
     */
    texts?: Record<string, string> | undefined;
};
/**
 * Removes a handler.
 */
export type Undo = () => void;
/** The reason why a subscription, a request or the connection ended. */
export class RealtimeError extends Error {
    /**
     * @param {string} code The server's error code (`not_found`, `unauthorized`, `limit`, …);
     *   `disconnected` when the server forbade the client to reconnect; `closed` when the page itself
     *   closed the client or the handle.
     * @param {string} message
     * @param {number | null} [retryAfter] Seconds to wait, if the server named a number.
     */
    constructor(code: string, message: string, retryAfter?: number | null);
    code: string;
    retryAfter: number | null;
}
/**
 * - `connecting`: not connected; the client connects by itself, at once or after a wait;
 * - `connected`: the server has sent its welcome;
 * - `disconnected`: the client does not connect until something is subscribed to.
 */
export type State = "connecting" | "connected" | "disconnected";
/**
 * `reason` is text for people, empty when there is nothing to report; `code` is the close code
 * that led to this state, if one did; `delayed` is true while the server cannot reach its store,
 * so that updates arrive late.
 */
export type ConnectionState = {
    state: State;
    reason: string;
    code: number | null;
    delayed: boolean;
};
/**
 * Returns whether a status is an ending.
 * @param {Pick<Status, "state">} status
 */
export function isTerminal(status: Pick<Status, "state">): boolean;
/**
 * The complete state of one task at one moment. Keys that later versions of the service add are
 * passed on unchanged.
 *
 * `state` is Celery's name (`PENDING`, `RECEIVED`, `STARTED`, `PROGRESS` or a name of the task's
 * own, `RETRY`, `STALLED`, `SUCCESS`, `FAILURE`, `REVOKED`, `LOST`). Times are ISO 8601 text in
 * UTC, for display and never for ordering.
 */
export type Status = {
    task_id: string;
    name: string | null;
    state: string;
    /**
     * Rises by one with each accepted update.
     */
    version: number;
    /**
     * Counts deliveries to a worker.
     */
    run: number;
    /**
     * Counts retries.
     */
    attempt: number;
    progress: Progress | null;
    result: any;
    /**
     * True if the result was too large, or JSON cannot express it.
     */
    truncated: boolean;
    error: {
        type: string;
        message: string;
    } | null;
    eta: string | null;
    retry_at: string | null;
    cancelling: boolean;
    root_id: string | null;
    parent_id: string | null;
    group_id: string | null;
    flow_id?: string | null | undefined;
    retry_of?: string | null | undefined;
    published_at: string | null;
    started_at: string | null;
    finished_at: string | null;
    updated_at: string | null;
};
/**
 * The progress of a task. Numbers that the task does not know are null.
 */
export type Progress = {
    current: number | null;
    total: number | null;
    message: string | null;
    meta?: Record<string, any> | null;
};
/**
 * A token, or a function that returns one. The client calls a function for the first subscription
 * and then once per lifetime of the token; topics with the same function share what it returns.
 */
export type Token = string | (() => string | null | undefined | Promise<string | null | undefined>);
/** @typedef {Update} Update */
/** @typedef {Progress} Progress */
/** @typedef {Status} Status */
/** @typedef {Undo} Undo */
/** @typedef {Subscription} Subscription */
/** The common part of the handles of a task and of a topic. */
declare class Handle {
    /**
     * Calls the handler with the newest status of each task, then with each new one, once and in
     * order.
     * @param {(status: Status) => void} handler
     * @returns {Undo}
     */
    onStatus(handler: (status: Status) => void): Undo;
    /**
     * Calls the handler once when the subscription has ended with an error.
     * @param {(error: RealtimeError) => void} handler
     * @returns {Undo}
     */
    onError(handler: (error: RealtimeError) => void): Undo;
    /**
     * Closes the handle: its handlers are not called any more, and the last handle of a topic
     * unsubscribes.
     */
    close(): void;
    #private;
}
/** One task. A `for await` loop over it gets each status, and ends with the task. */
export class TaskHandle extends Handle {
    id: string;
    /** The newest status; null before the first one. */
    get status(): Status | null;
    /**
     * Calls the handler with the progress of each status that has one.
     * @param {(progress: Progress, status: Status) => void} handler
     * @returns {Undo}
     */
    onProgress(handler: (progress: Progress, status: Status) => void): Undo;
    /**
     * Calls the handler with the ending, also with a failure. A task that is delivered to a worker
     * again ends again.
     * @param {(status: Status) => void} handler
     * @returns {Undo}
     */
    onEnd(handler: (status: Status) => void): Undo;
    /**
     * Calls the handler when the server no longer knows a task that had not ended: its record has
     * expired, or the store lost it. The task may come back.
     * @param {() => void} handler
     * @returns {Undo}
     */
    onGone(handler: () => void): Undo;
    /**
     * Waits for the ending, and returns its status, also that of a failed task. Rejects with a
     * `RealtimeError` when the subscription has ended with an error.
     * @returns {Promise<Status>}
     */
    done(): Promise<Status>;
    /**
     * Requests the cancellation of the task. Fulfilled when the server has passed the request on; the
     * new state arrives like any other.
     * @returns {Promise<void>}
     */
    cancel(): Promise<void>;
    /** @returns {AsyncGenerator<Status, void, void>} */
    [Symbol.asyncIterator](): AsyncGenerator<Status, void, void>;
    #private;
}
/** A topic with many tasks. */
export class TopicHandle extends Handle {
    name: string;
    /** The newest status of each task, by task id. @returns {ReadonlyMap<string, Status>} */
    get tasks(): ReadonlyMap<string, Status>;
    /** How many tasks the server has of the topic; `tasks` has those of the loaded pages. */
    get total(): number;
    /** Whether there are tasks on further pages. */
    get hasMore(): boolean;
    /**
     * Loads the next page, with older tasks, into `tasks`; `onStatus` is called with each of them.
     * Resolves at once when all pages are loaded.
     * @param {number} [limit] Tasks on the page: 1 to 200, 50 by default.
     * @returns {Promise<void>}
     */
    more(limit?: number): Promise<void>;
    /**
     * Calls the handler with all tasks when the list was replaced: at first, and where the server
     * could not send the missed events. Tasks that are not in it are gone. `onStatus` is called
     * afterwards with the statuses that are new.
     * @param {(tasks: ReadonlyMap<string, Status>) => void} handler
     * @returns {Undo}
     */
    onSnapshot(handler: (tasks: ReadonlyMap<string, Status>) => void): Undo;
    #private;
}
/**
 * Returns a client. It connects when something is subscribed to. Clients of one address share a
 * connection, except those with a `platform` of their own.
 * @param {string | URL} [url] The WebSocket's address. By default the one that
 *   `{% realtime_script %}` put into the page, else `/realtime/ws/` of the page's own site.
 * @param {Partial<Platform>} [platform] Replaces functions of the browser or of Node, for tests.
 * @returns {Realtime}
 */
export function connect(url?: string | URL, platform?: Partial<Platform>): Realtime;
/**
 * Returns the path of a task id in an address of the HTTP side: plain ids unchanged, others as `~`
 * and base64url, since a decoded `%2F` or `..` would change the route.
 * @param {string} id
 * @returns {string}
 */
export function idPath(id: string): string;
/**
 * A client for any number of tasks and topics over one connection. Its `state` event has the
 * `ConnectionState` as `detail`.
 */
export class Realtime extends EventTarget {
    /**
     * @param {string | URL} [url]
     * @param {Partial<Platform>} [platform]
     */
    constructor(url?: string | URL, platform?: Partial<Platform>);
    /** The state of the connection. */
    get state(): ConnectionState;
    /** The time by the server's clock, to show how long a task has run. */
    get serverTime(): Date;
    /**
     * Calls the handler with the present state of the connection, and with each new one.
     * @param {(state: ConnectionState) => void} handler
     * @returns {Undo}
     */
    onState(handler: (state: ConnectionState) => void): Undo;
    /**
     * Subscribes to one task.
     * @param {string} id Celery's task id.
     * @param {{token?: Token | undefined}} [options]
     * @returns {TaskHandle}
     */
    task(id: string, options?: {
        token?: Token | undefined;
    }): TaskHandle;
    /**
     * Subscribes to a topic of many tasks, such as `user:me`.
     * @param {string} name
     * @param {{token?: Token | undefined, limit?: number | undefined}} [options] `limit`: tasks in
     *   the snapshot, 1 to 200, 50 by default; `more()` of the handle loads further ones.
     * @returns {TopicHandle}
     */
    topic(name: string, options?: {
        token?: Token | undefined;
        limit?: number | undefined;
    }): TopicHandle;
    /**
     * Requests a token for these topics by the page's session, for HTTP requests of the page's own.
     * Rejects if the page may not see one of them.
     * @param {string[]} topics
     * @returns {Promise<string>}
     */
    requestToken(topics: string[]): Promise<string>;
    /**
     * Returns the address of a task's complete result, for `fetch` with the session's cookie or a
     * token.
     * @param {string} id
     * @returns {string}
     */
    resultUrl(id: string): string;
    /**
     * Closes every handle of this client, and the connection unless other clients use it. A new
     * subscription connects again.
     */
    close(): void;
    #private;
}
export {};
