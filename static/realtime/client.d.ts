/*! django-celery-realtime, BSD-3-Clause. Built from static/realtime/src. */
/**
 * Removes a handler.
 */
export type Undo = () => void;
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
/** Why a subscription, a request or the connection was refused or given up. */
export class RealtimeError extends Error {
    /**
     * @param {string} code The server's error code (`not_found`, `unauthorized`, `limit`, …);
     *   `disconnected` when the server asked the client to stay away, `closed` when the client or
     *   the handle was closed by the page itself.
     * @param {string} message
     * @param {number | null} [retryAfter] Seconds that the server asked to wait.
     */
    constructor(code: string, message: string, retryAfter?: number | null);
    code: string;
    retryAfter: number | null;
}
/**
 * - `connecting`: not connected; the client tries by itself, at once or after a wait;
 * - `connected`: the server has sent its welcome;
 * - `disconnected`: nothing is tried until something is subscribed to.
 */
export type State = "connecting" | "connected" | "disconnected";
/**
 * `reason` is text for people, empty when there is nothing to report; `code` is the close code
 * that led here, if one did; `delayed` is true while the server cannot reach its store, so that
 * updates arrive late.
 */
export type ConnectionState = {
    state: State;
    reason: string;
    code: number | null;
    delayed: boolean;
};
/**
 * Says whether a status is an ending.
 * @param {Pick<Status, "state">} status
 */
export function isTerminal(status: Pick<Status, "state">): boolean;
/**
 * The state of one task at one moment, complete. Keys of later versions of the service are passed
 * on as they are.
 *
 * `state` is Celery's name (`PENDING`, `RECEIVED`, `STARTED`, `PROGRESS` or a name of the task's
 * own, `RETRY`, `STALLED`, `SUCCESS`, `FAILURE`, `REVOKED`, `LOST`). Times are ISO 8601 text in
 * UTC: for showing, never for ordering.
 */
export type Status = {
    task_id: string;
    name: string | null;
    state: string;
    /**
     * Rises by one with each accepted change.
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
     * The result was too large, or JSON cannot express it.
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
 * Numbers that the task does not know are null.
 */
export type Progress = {
    current: number | null;
    total: number | null;
    message: string | null;
    meta?: Record<string, any> | null;
};
/**
 * A token, or a function that gets one. A function is called for the first subscription and then
 * once per term of the token; topics with the same function share what it returns.
 */
export type Token = string | (() => string | null | undefined | Promise<string | null | undefined>);
/** @typedef {Change} Change */
/** @typedef {Progress} Progress */
/** @typedef {Status} Status */
/** @typedef {Undo} Undo */
/** @typedef {Subscription} Subscription */
/** What the handles of a task and of a topic have in common. */
declare class Handle {
    /**
     * Calls back with the newest status of each task, and with each new one, once and in order.
     * @param {(status: Status) => void} handler
     * @returns {Undo}
     */
    onStatus(handler: (status: Status) => void): Undo;
    /**
     * Calls back once when the server refuses, withdraws or gives up the subscription.
     * @param {(error: RealtimeError) => void} handler
     * @returns {Undo}
     */
    onError(handler: (error: RealtimeError) => void): Undo;
    /**
     * Closes the handle: no handler is called any more, and the last handle of a topic unsubscribes.
     */
    close(): void;
    #private;
}
/** One task. A `for await` over it gives each status, and ends with the task. */
export class TaskHandle extends Handle {
    id: string;
    /** The newest status; null before the first. */
    get status(): Status | null;
    /**
     * Calls back with the progress of each status that has one.
     * @param {(progress: Progress, status: Status) => void} handler
     * @returns {Undo}
     */
    onProgress(handler: (progress: Progress, status: Status) => void): Undo;
    /**
     * Calls back with the ending, also one that failed. A task that is delivered again ends again.
     * @param {(status: Status) => void} handler
     * @returns {Undo}
     */
    onEnd(handler: (status: Status) => void): Undo;
    /**
     * Calls back when the server no longer knows the task, which had not ended: its record has
     * expired, or the store lost it. It may come back.
     * @param {() => void} handler
     * @returns {Undo}
     */
    onGone(handler: () => void): Undo;
    /**
     * Waits for the ending: a failed task gives its status as well. Rejects with a
     * `RealtimeError` when the ending cannot be known.
     * @returns {Promise<Status>}
     */
    done(): Promise<Status>;
    /**
     * Asks for the task to be cancelled. Fulfilled when the request was passed on; the state follows
     * like any other.
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
    /** How many tasks the server has of the topic; `tasks` holds those of the pages loaded so far. */
    get total(): number;
    /** Says whether there are tasks on further pages. */
    get hasMore(): boolean;
    /**
     * Loads the next page, older tasks, into `tasks`; `onStatus` is called with each of them. Resolves
     * at once when all are loaded.
     * @param {number} [limit] Tasks on the page: 1 to 200, 50 by default.
     * @returns {Promise<void>}
     */
    more(limit?: number): Promise<void>;
    /**
     * Calls back with all tasks when the list was replaced: at first, and where the server could not
     * send what was missed. A task that is not in it is gone. `onStatus` follows with what is news.
     * @param {(tasks: ReadonlyMap<string, Status>) => void} handler
     * @returns {Undo}
     */
    onSnapshot(handler: (tasks: ReadonlyMap<string, Status>) => void): Undo;
    #private;
}
/**
 * Returns a client, which connects when something is subscribed to. Clients of one address share a
 * connection; one with a `platform` of its own has its own.
 * @param {string | URL} [url] The WebSocket's address. By default the one that
 *   `{% realtime_script %}` put into the page, else `/realtime/ws/` of the page's own site.
 * @param {Partial<Platform>} [platform] Replaces what the browser or Node provides, for tests.
 * @returns {Realtime}
 */
export function connect(url?: string | URL, platform?: Partial<Platform>): Realtime;
/**
 * The path of a task id in an address of the HTTP side: plain ids as they are, others as `~` and
 * base64url, since a decoded `%2F` or `..` would change the route.
 * @param {string} id
 * @returns {string}
 */
export function idPath(id: string): string;
/**
 * Any number of tasks and topics over one connection. Its `state` event carries the
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
    /** The time by the server's clock, for showing how long a task has run. */
    get serverTime(): Date;
    /**
     * Calls back with the present state, and with each change.
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
     *   the snapshot, 1 to 200, 50 by default; `more()` of the handle loads others.
     * @returns {TopicHandle}
     */
    topic(name: string, options?: {
        token?: Token | undefined;
        limit?: number | undefined;
    }): TopicHandle;
    /**
     * Asks the service, by this page's session, for a token that opens these topics, for requests of
     * the page's own. Rejects if one of them is refused.
     * @param {string[]} topics
     * @returns {Promise<string>}
     */
    requestToken(topics: string[]): Promise<string>;
    /**
     * The address of a task's result, whole: for `fetch`, with the session's cookie or a token.
     * @param {string} id
     * @returns {string}
     */
    resultUrl(id: string): string;
    /**
     * Closes every handle made by this client, and the connection unless other clients use it.
     * Subscribing again connects again.
     */
    close(): void;
    #private;
}
export {};
