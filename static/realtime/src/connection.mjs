/**
 * One WebSocket that reconnects by itself. It backs off with jitter, sends pings, and reports its
 * state.
 */

import { Heartbeat, TIMEOUT, WAKE_TIMEOUT } from "./heartbeat.mjs";
import { report } from "./listeners.mjs";
import { RateLimiter } from "./rate-limiter.mjs";
import { ABNORMAL, backoff, isFinal, OVERLOADED, requiredWait, SIGNED_OUT } from "./retry.mjs";
import { Timer } from "./timer.mjs";

/** @typedef {import("./http.mjs").Diagnosis} Diagnosis */
/** @typedef {import("./platform.mjs").Platform} Platform */
/** @typedef {import("./platform.mjs").Socket} Socket */

/**
 * - `connecting`: not connected; the client connects by itself, at once or after a wait;
 * - `connected`: the server has sent its welcome;
 * - `disconnected`: the client does not connect until something is subscribed to.
 * @typedef {"connecting" | "connected" | "disconnected"} State
 */

/**
 * `reason` is text for people, empty when there is nothing to report; `code` is the close code
 * that led to this state, if one did; `delayed` is true while the server cannot reach its store,
 * so that updates arrive late.
 * @typedef {{state: State, reason: string, code: number | null, delayed: boolean}} ConnectionState
 */

/** @typedef {Record<string, any> & {type: string}} Frame A JSON object of the protocol. */

/**
 * What a connection calls.
 * @typedef {object} Callbacks
 * @property {(state: ConnectionState) => void} state
 * @property {(frame: Frame) => void} frame Receives the frames that concern a subscription.
 * @property {() => boolean} isNeeded Returns whether to reconnect.
 * @property {() => Promise<Diagnosis>} diagnose Finds out why handshakes fail.
 */

// Milliseconds.
/** The pages that reconnect when the network returns spread over this time. */
const ONLINE_WAIT = 1000;
/** A connection that lived as long resets the backoff. */
const STABLE = 10_000;
/** A connection that lived for less counts as a failed handshake. */
const SHORT_LIVED = 1000;

/** The client diagnoses after the second failed handshake in a row, and after each eighth more. */
const FAILURES = 2;
const FAILURES_PER_DIAGNOSIS = 8;

const WAKING = ["online", "pageshow", "resume", "visibilitychange"];
const DELAYED = "updates are delayed: the server cannot reach its store";
const HIDDEN = "paused while the page is not shown";

export class Connection {
  /** @type {ConnectionState} */
  state = { state: "disconnected", reason: "", code: null, delayed: false };

  /** The welcome of this connection. @type {Frame} */
  welcome = { type: "welcome" };

  #url;
  #platform;
  #callbacks;
  #limiter;
  #heartbeat;
  /** The next attempt, the next timeout or the next heartbeat: never two. */
  #timer;

  /** @type {Socket | null} */
  #socket = null;

  #attempt = 0;
  /** Handshakes that failed in a row. */
  #failures = 0;
  /** What the last diagnosis found; "" when there is none. */
  #diagnosis = "";
  /** The server requires this wait: waking up does not shorten it. */
  #isWaitRequired = false;
  /** The page is in the back/forward cache. */
  #isParked = false;

  #connectedAt = 0;
  #welcomedAt = 0;
  #lastId = 0;

  /** @type {Frame | null} */
  #closing = null;
  /** Why the server did not welcome: an error that came before any welcome. */
  #refusal = "";
  #warned = "";

  /**
   * @param {string} url
   * @param {Platform} platform
   * @param {Callbacks} callbacks
   */
  constructor(url, platform, callbacks) {
    this.#url = url;
    this.#platform = platform;
    this.#callbacks = callbacks;
    this.#timer = new Timer(platform);
    this.#limiter = new RateLimiter(platform, (text) => this.#socket?.send(text));
    this.#heartbeat = new Heartbeat(
      platform,
      this.#timer,
      // Past the queue: the answer is needed now, and a ping is one frame in many seconds.
      () => this.#limiter.pushNow(JSON.stringify({ type: "ping", id: ++this.#lastId })),
      (reason) => this.#onLost(ABNORMAL, reason),
    );
  }

  /** Connects, and reconnects from then on. A wait before the next attempt is not cut short. */
  open() {
    if (this.state.state !== "disconnected") return;
    const { events } = this.#platform;
    for (const name of WAKING) events.addEventListener(name, this.#onWake);
    events.addEventListener("pagehide", this.#onHide);
    this.#setState("connecting", "", null);
    this.#connect();
  }

  #connect() {
    // A state handler may have closed the client.
    if (this.state.state === "disconnected" || this.#socket !== null) return;
    this.#closing = null;
    this.#refusal = "";
    this.#isWaitRequired = false;
    this.#connectedAt = this.#platform.now();
    /** @type {Socket} */
    let socket;
    try {
      socket = new this.#platform.WebSocket(this.#url);
    } catch (error) {
      // A URL or a policy that refuses once refuses always.
      this.#stop(String(error), null);
      return;
    }
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      if (socket === this.#socket) this.#receive(data);
    };
    socket.onclose = ({ code, reason }) => {
      if (socket === this.#socket) this.#onLost(code, reason);
    };
    this.#timer.set(TIMEOUT, () => this.#onLost(ABNORMAL, "no answer"));
  }

  /**
   * Closes until something is subscribed to again.
   * @param {string} reason
   */
  close(reason) {
    this.#closeSocket(1000);
    this.#stop(reason, null);
  }

  /** Milliseconds since 1970 by the server's clock; by the machine's before the first welcome. */
  get serverNow() {
    const { now, wallClock } = this.#platform;
    const welcomed = Date.parse(this.welcome.now);
    return Number.isNaN(welcomed) ? wallClock() : welcomed + now() - this.#welcomedAt;
  }

  /**
   * Sends a frame at the rate that the server allows, and returns the id that it was given. Only
   * while connected: frames that wait are lost with the connection.
   * @param {Frame} frame
   */
  send(frame) {
    const id = ++this.#lastId;
    this.#limiter.push(JSON.stringify({ ...frame, id }));
    return id;
  }

  /** @param {unknown} data */
  #receive(data) {
    this.#heartbeat.onFrame();
    const frame = parse(data);
    switch (frame.type) {
      case "":
      case "pong":
        break;
      case "welcome":
        this.#onWelcome(frame);
        break;
      case "store":
        this.#onStore(frame.available !== false);
        break;
      case "closing":
        // Kept, since neither code nor reason of the close itself is sure to arrive.
        this.#closing = frame;
        this.#timer.set(TIMEOUT, () => this.#onLost(ABNORMAL, ""));
        break;
      default:
        if (frame.type === "error" && this.state.state !== "connected") {
          this.#refusal = frame.message;
          return;
        }
        try {
          this.#callbacks.frame(frame);
        } catch (error) {
          report(error);
        }
    }
  }

  /** @param {Frame} frame */
  #onWelcome(frame) {
    this.welcome = frame;
    this.#welcomedAt = this.#platform.now();
    this.#warned = "";
    this.#limiter.start(frame.limits ?? {});
    this.#heartbeat.start((frame.ping ?? 25) * 1000);
    this.#setState("connected", "", null);
  }

  /**
   * The server lost its store, or reaches it again.
   * @param {boolean} isAvailable
   */
  #onStore(isAvailable) {
    if (this.state.state === "connected") {
      this.#setState("connected", isAvailable ? "" : DELAYED, null, !isAvailable);
    }
  }

  /** The network is back, or the page is shown again. @param {Event} event */
  #onWake = ({ type }) => {
    if (globalThis.document?.visibilityState === "hidden" && !this.#isParked) return;
    const { now, random } = this.#platform;
    if (this.#socket === null) {
      if (this.#isWaitRequired) return;
      if (type !== "online" || this.#isParked) this.#connectNow();
      else this.#timer.hasten(random() * ONLINE_WAIT);
    } else if (this.state.state !== "connected") {
      // A handshake from before the sleep gets no answer.
      if (now() - this.#connectedAt <= WAKE_TIMEOUT) return;
      this.#closeSocket();
      this.#connectNow();
    } else if (this.#closing === null) {
      this.#heartbeat.check();
    }
  };

  #connectNow() {
    this.#isParked = false;
    this.#timer.clear();
    this.#connect();
  }

  /**
   * The page goes into the back/forward cache, where a connection does not live: close it.
   * @param {any} event
   */
  #onHide = ({ persisted }) => {
    if (!persisted || this.state.state === "disconnected") return;
    this.#closeSocket(1000);
    this.#isParked = true;
    this.#isWaitRequired = false;
    this.#setState("connecting", HIDDEN, null);
  };

  /**
   * The connection has ended, or no answer came in time.
   * @param {number} code
   * @param {string} reason
   */
  #onLost(code, reason) {
    const lived = this.#platform.now() - this.#welcomedAt;
    const wasConnected = this.state.state === "connected";
    const closing = this.#closing;
    if (closing !== null) {
      code = closing.code;
      reason = closing.message;
    }
    reason = this.#refusal || reason || "connection lost";
    this.#closeSocket();
    if (typeof closing?.reconnect === "boolean" ? !closing.reconnect : isFinal(code)) {
      this.#stop(reason, code);
      // The user signed out, and the page is about to be left: no warning.
      if (code === SIGNED_OUT) return;
      this.#warn(`${reason} (${code}). The client reconnects when something is subscribed to.`);
      return;
    }
    if (!this.#callbacks.isNeeded()) {
      this.#stop("", null);
      return;
    }
    if (wasConnected && lived >= SHORT_LIVED) {
      this.#failures = 0;
      this.#diagnosis = "";
    } else {
      this.#failures += 1;
    }
    // The backoff goes on for a server that welcomes and fails at once.
    if (wasConnected && lived >= STABLE) this.#attempt = 0;
    this.#retry(code, closing?.retry_after);
    if (code === OVERLOADED) this.#warn(`${reason} (${code}). Trying again.`);
    this.#setState("connecting", this.#diagnosis || reason, code);
    if (this.#failures % FAILURES_PER_DIAGNOSIS === FAILURES && closing === null) {
      this.#diagnose(code);
    }
  }

  /**
   * Connects again after a wait.
   * @param {number} code
   * @param {unknown} retryAfter Seconds, if the server named a number.
   */
  #retry(code, retryAfter) {
    const { random } = this.#platform;
    const wait = backoff(this.#attempt++, random);
    const required = requiredWait(code, retryAfter, random);
    this.#isWaitRequired = required !== undefined;
    this.#timer.set(required ?? wait, () => this.#connect());
  }

  /** @param {number} code */
  async #diagnose(code) {
    const { reason, retryAfter } = await this.#callbacks.diagnose();
    // The client may have connected meanwhile, or been closed.
    if (this.state.state !== "connecting" || this.#failures === 0) return;
    this.#diagnosis = reason;
    if (retryAfter !== null && this.#socket === null) this.#retry(code, retryAfter);
    this.#warn(`no connection: ${reason}. Trying again.`);
    this.#setState("connecting", reason, this.state.code);
  }

  /**
   * Warns in the console, once until the next success: the page may not show the reason.
   * @param {string} text
   */
  #warn(text) {
    if (text === this.#warned) return;
    this.#warned = text;
    this.#platform.warn(`realtime: ${text}`);
  }

  /**
   * Closes the socket without waiting for its close event, which a dead network never sends.
   * @param {number} [code]
   */
  #closeSocket(code) {
    const socket = this.#socket;
    this.#socket = null;
    this.#limiter.clear();
    this.#timer.clear();
    socket?.close(code);
  }

  /**
   * @param {string} reason
   * @param {number | null} code
   */
  #stop(reason, code) {
    const { events } = this.#platform;
    for (const name of WAKING) events.removeEventListener(name, this.#onWake);
    events.removeEventListener("pagehide", this.#onHide);
    this.#isParked = false;
    this.#failures = 0;
    this.#diagnosis = "";
    this.#setState("disconnected", reason, code);
  }

  /**
   * @param {State} state
   * @param {string} reason
   * @param {number | null} code
   * @param {boolean} [delayed]
   */
  #setState(state, reason, code, delayed = false) {
    const before = this.state;
    this.state = { state, reason, code, delayed };
    if (state !== before.state || reason !== before.reason) this.#callbacks.state(this.state);
  }
}

/**
 * Parses a frame. What is not a frame of this service gets the type "", and is ignored.
 * @param {unknown} data
 * @returns {Frame}
 */
function parse(data) {
  try {
    const frame = JSON.parse(/** @type {string} */ (data));
    if (typeof frame?.type === "string") return frame;
  } catch {
    // The connection itself works: keep it.
  }
  return { type: "" };
}
