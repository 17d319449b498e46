/**
 * The functions of the browser or of Node that the client uses. Tests replace them.
 */

/**
 * The part of a WebSocket that is used.
 * @typedef {object} Socket
 * @property {((event: any) => void) | null} onmessage
 * @property {((event: any) => void) | null} onclose
 * @property {(text: string) => void} send
 * @property {(code?: number) => void} close
 */

/**
 * @typedef {object} Platform
 * @property {new (url: string) => Socket} WebSocket
 * @property {(url: string, options?: RequestInit) => Promise<Response>} fetch
 * @property {(callback: () => void, milliseconds: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} now Milliseconds of a monotonic clock: setting the machine's clock
 *   does not move it.
 * @property {() => number} wallClock Milliseconds since 1970. Compared with `now` to detect sleep.
 * @property {() => number} random From 0 to below 1.
 * @property {(text: string) => void} warn
 * @property {Pick<EventTarget, "addEventListener" | "removeEventListener">} events
 *   Receives `online`, `pageshow`, `pagehide`, `resume` and `visibilitychange`: the window.
 * @property {string | undefined} location The page's address; none in Node.
 * @property {Config} config
 */

/**
 * What `{% realtime_script %}` puts into the page.
 * @typedef {object} Config
 * @property {string} [socket] The WebSocket's path.
 * @property {string} [http] The path below which `realtime.urls` is included.
 * @property {string} [csrf_token]
 * @property {string} [csrf_header]
 * @property {string} [csrf_cookie]
 * @property {Record<string, string>} [texts] For `<task-progress>`.
 */

/**
 * Reads the configuration from the page; it is empty where the page has none.
 * @returns {Config}
 */
export function readConfig() {
  const text = globalThis.document?.getElementById("realtime-config")?.textContent;
  return text ? JSON.parse(text) : {};
}

/**
 * Fills in what the browser or Node provides.
 * @param {Partial<Platform>} platform
 * @returns {Platform}
 */
export function complete(platform) {
  const WebSocket = platform.WebSocket ?? /** @type {any} */ (globalThis.WebSocket);
  if (WebSocket === undefined) {
    throw new TypeError("There is no WebSocket here: use Node 22 or newer, or pass one.");
  }
  return {
    // Wrapped, since browsers refuse to call their functions as methods of another object.
    fetch: (url, options) => fetch(url, options),
    setTimeout: (callback, wait) => setTimeout(callback, wait),
    clearTimeout: (timer) => clearTimeout(timer),
    now: () => performance.now(),
    wallClock: () => Date.now(),
    random: () => Math.random(),
    warn: (text) => console.warn(text),
    events: typeof globalThis.addEventListener === "function" ? globalThis : new EventTarget(),
    location: globalThis.location?.href,
    config: platform.config ?? readConfig(),
    ...platform,
    WebSocket,
  };
}
