/**
 * Requests to the HTTP side of the service: tokens, and the reason for a refused handshake.
 */

import { RealtimeError } from "./errors.mjs";
import { readConfig } from "./platform.mjs";

/** @typedef {import("./platform.mjs").Platform} Platform */

/** How long a request may take, in milliseconds. */
const TIMEOUT = 10_000;

/** The most topics that one token may name. */
export const TOPICS_PER_TOKEN = 128;

/**
 * `reason` is text for people; `retryAfter` the seconds that the server asked to wait, or null.
 * @typedef {{reason: string, retryAfter: number | null}} Diagnosis
 */

/**
 * A token, empty if no topic was granted, and the topics that the caller may not see.
 * @typedef {{token: string, refused: Set<string>}} Granted
 */

const SIGN_IN = "signing in is needed: another page answered instead of the service";

export class Http {
  #platform;

  /** The address below which `realtime.urls` is included. */
  #base;

  /**
   * Whether this page's session can renew tokens: the service has the page's own origin, so
   * it receives the cookies and the CSRF token.
   */
  canRenew;

  /**
   * @param {string} socket The WebSocket's absolute address.
   * @param {Platform} platform
   */
  constructor(socket, platform) {
    this.#platform = platform;
    const { location, config } = platform;
    const address = new URL(socket);
    address.protocol = address.protocol.replace("ws", "http");
    this.canRenew = location !== undefined && new URL(location).origin === address.origin;
    const isConfigured =
      config.socket !== undefined &&
      config.http !== undefined &&
      location !== undefined &&
      new URL(config.socket, location).pathname === address.pathname;
    // `/realtime/ws/` is beside `/realtime/tokens/` unless the page says otherwise.
    const parent = address.pathname.endsWith("/") ? ".." : ".";
    this.#base = new URL(isConfigured ? /** @type {string} */ (config.http) : parent, address);
  }

  /**
   * Returns the address of a part of the HTTP side.
   * @param {string} path
   */
  url(path) {
    return new URL(path, this.#base).href;
  }

  /**
   * Requests a token by the page's session. Topics that the caller may not see are `refused`.
   * Rejects with a `RealtimeError` when the service refuses the request itself, and with any other
   * error where another attempt may succeed.
   * @param {string[]} topics
   * @returns {Promise<Granted>}
   */
  async requestToken(topics) {
    const { csrf_header = "X-CSRFToken" } = this.#platform.config;
    const response = await this.#fetch("tokens/", {
      method: "POST",
      headers: {
        Accept: "application/json",
        "Content-Type": "application/json",
        [csrf_header]: this.#csrfToken(),
      },
      body: JSON.stringify({ topics }),
    });
    if (isOtherPage(response)) throw new RealtimeError("unauthorized", SIGN_IN);
    const answer = await response.json().catch(() => ({}));
    if (response.ok) {
      const refused = new Set(Object.values(answer.refused ?? []).map(topicOf));
      return { token: answer.token ?? "", refused };
    }
    const { status, url } = response;
    const { code = "internal", message = `HTTP ${status} from ${url}` } = answer?.error ?? {};
    if (status >= 500 || status === 429) throw new Error(message);
    throw new RealtimeError(code, message);
  }

  /**
   * Finds out why handshakes fail, which a WebSocket does not report.
   * @returns {Promise<Diagnosis>}
   */
  async diagnose() {
    const { location } = this.#platform;
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json" };
    // A browser sends `Origin` with a handshake, but not with a GET request to its own origin.
    if (this.canRenew && location) headers["X-Realtime-Origin"] = new URL(location).origin;
    /** @type {Response} */
    let response;
    try {
      response = await this.#fetch("ws/", { headers });
    } catch {
      return { reason: "the server cannot be reached", retryAfter: null };
    }
    const seconds = Number(response.headers.get("Retry-After") ?? NaN);
    return { reason: await explain(response), retryAfter: seconds >= 0 ? seconds : null };
  }

  /**
   * @param {string} path
   * @param {RequestInit} options
   */
  async #fetch(path, options) {
    const abort = new AbortController();
    const timer = this.#platform.setTimeout(() => abort.abort(), TIMEOUT);
    try {
      return await this.#platform.fetch(this.url(path), {
        credentials: "same-origin",
        cache: "no-store",
        signal: abort.signal,
        ...options,
      });
    } finally {
      this.#platform.clearTimeout(timer);
    }
  }

  /**
   * Returns the CSRF token. Signing in makes a new one: it is in the cookie, or a script has put it
   * into the page, while the configuration may still have the old one.
   */
  #csrfToken() {
    const config = { ...this.#platform.config, ...readConfig() };
    const { csrf_cookie = "csrftoken", csrf_token } = config;
    const { document } = globalThis;
    for (const cookie of document?.cookie.split("; ") ?? []) {
      if (cookie.startsWith(`${csrf_cookie}=`)) return cookie.slice(csrf_cookie.length + 1);
    }
    const input = document?.querySelector("input[name=csrfmiddlewaretoken]");
    return /** @type {HTMLInputElement | null} */ (input)?.value || (csrf_token ?? "");
  }
}

/**
 * Returns the topic of an entry of `refused`.
 * @param {any} refused A topic, or an object that names one.
 * @returns {string}
 */
function topicOf(refused) {
  return typeof refused === "string" ? refused : refused.topic;
}

/**
 * Returns whether another page answered in place of the service, such as the sign-in page.
 * @param {Response} response
 */
function isOtherPage(response) {
  const type = response.headers.get("Content-Type") ?? "";
  return response.redirected || (response.ok && type.includes("html"));
}

/**
 * Explains why a WebSocket was refused, by the answer to a plain request to its address.
 * @param {Response} response
 */
async function explain(response) {
  const { status } = response;
  if (isOtherPage(response) || status === 401) return SIGN_IN;
  if (response.ok || status === 426) {
    return "the server answers, but a proxy does not pass WebSockets on";
  }
  const answer = await response.json().catch(() => ({}));
  const message = answer?.error?.message ?? REASONS[status] ?? "the server refuses WebSockets";
  return `${message} (${status})`;
}

/** @type {Record<number, string>} */
const REASONS = {
  403: "the server refuses this page",
  404: "no such service at this address",
  502: "the server cannot be reached",
  503: "the server is unavailable",
  504: "the server does not answer",
};
