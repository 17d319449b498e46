/**
 * One WebSocket that reconnects by itself: waits with jitter, a heartbeat, and an honest state.
 */

import { report } from "./listeners.mjs";
import { Pace } from "./pace.mjs";

/** @typedef {import("./platform.mjs").Platform} Platform */
/** @typedef {import("./platform.mjs").Socket} Socket */
/** @typedef {import("./site.mjs").Diagnosis} Diagnosis */

/**
 * - `connecting`: not connected; the client tries by itself, at once or after a wait;
 * - `connected`: the server has sent its welcome;
 * - `disconnected`: nothing is tried until something is subscribed to.
 * @typedef {"connecting" | "connected" | "disconnected"} State
 */

/**
 * `reason` is text for people, empty when there is nothing to report; `code` is the close code
 * that led here, if one did; `delayed` is true while the server cannot reach its store, so that
 * updates arrive late.
 * @typedef {{state: State, reason: string, code: number | null, delayed: boolean}} ConnectionState
 */

/** @typedef {Record<string, any> & {type: string}} Frame A JSON object of the contract. */

/**
 * What the connection needs of its owner.
 * @typedef {object} Owner
 * @property {(state: ConnectionState) => void} state
 * @property {(frame: Frame) => void} frame Receives every frame but the connection's own.
 * @property {() => boolean} isWanted Says whether there is anything to reconnect for.
 * @property {() => Promise<Diagnosis>} diagnose Finds out why handshakes fail.
 */

// Milliseconds.
const FIRST_WAIT = 500;
const LONGEST_WAIT = 20_000;
const RESTART_WAIT = 15_000;
/** When the network returns for a thousand pages, they spread over this time. */
const ONLINE_WAIT = 1000;
/** How long a connection must have lived for the next wait to be short again. */
const STABLE = 10_000;
/** One that lived no longer than this counts as a failed handshake. */
const STILLBORN = 1000;
/** How long the server may take to welcome, to answer a ping, or to close after `closing`. */
const PATIENCE = 10_000;
/** The same after the page or the machine has woken: then the connection is probably dead. */
const WAKE_PATIENCE = 3_000;
/** A timer this late was asleep with its machine; tabs in the background are a minute late. */
const ASLEEP = 90_000;
/** After as many failed handshakes in a row the client asks for the reason, once in a while. */
const FAILURES = 2;
const FAILURES_PER_DIAGNOSIS = 8;

const RESTART = 1012;
const OVERLOADED = 1013;
const ABNORMAL = 1006;
const SIGNED_OUT = 4501;

const WAKING = ["online", "pageshow", "resume", "visibilitychange"];
const DELAYED = "updates are delayed: the server cannot reach its store";
const HIDDEN = "paused while the page is not shown";

/**
 * A wait with full jitter: random between 0 and the smaller of 20 s and 0.5 s × 2^attempt.
 * @param {number} attempt From 0.
 * @param {() => number} random
 */
export function backoff(attempt, random) {
  return random() * Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** attempt);
}

/**
 * Says whether a close code asks the client to stay away.
 * @param {number} code
 */
function staysAway(code) {
  return code === 1000 || (code >= 4500 && code <= 4999);
}

export class Connection {
  /** @type {ConnectionState} */
  state = { state: "disconnected", reason: "", code: null, delayed: false };

  /** The welcome of this connection. @type {Frame} */
  welcome = { type: "welcome" };

  #url;
  #platform;
  #owner;
  #pace;

  /** @type {Socket | null} */
  #socket = null;

  /** The next attempt, the end of patience or the next heartbeat: never two. @type {any} */
  #timer = null;
  /** When the timer is due. */
  #due = 0;

  #attempt = 0;
  /** Handshakes that failed in a row. */
  #failures = 0;
  /** What the last diagnosis found; "" when there is none. */
  #diagnosis = "";
  /** The server asked for this wait: waking up does not shorten it. */
  #isWaitAsked = false;
  /** The page is in the back/forward cache. */
  #isParked = false;

  #ping = 0;
  #dialedAt = 0;
  #welcomedAt = 0;
  #receivedAt = 0;
  #awaitsAnswer = false;
  #lastId = 0;

  /** @type {Frame | null} */
  #closing = null;
  /** Why the server did not welcome: an error that came before any welcome. */
  #refusal = "";
  #warned = "";

  /**
   * @param {string} url
   * @param {Platform} platform
   * @param {Owner} owner
   */
  constructor(url, platform, owner) {
    this.#url = url;
    this.#platform = platform;
    this.#owner = owner;
    this.#pace = new Pace(platform, (text) => this.#socket?.send(text));
  }

  /** Connects, and reconnects from then on; a wait before the next attempt is not cut short. */
  open() {
    if (this.state.state !== "disconnected") return;
    const { events } = this.#platform;
    for (const name of WAKING) events.addEventListener(name, this.#wake);
    events.addEventListener("pagehide", this.#hide);
    this.#set("connecting", "", null);
    this.#dial();
  }

  #dial() {
    // A state handler may have closed the client.
    if (this.state.state === "disconnected" || this.#socket !== null) return;
    this.#closing = null;
    this.#refusal = "";
    this.#isWaitAsked = false;
    this.#dialedAt = this.#platform.now();
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
      if (socket === this.#socket) this.#lost(code, reason);
    };
    this.#arm(PATIENCE, () => this.#lost(ABNORMAL, "no answer"));
  }

  /**
   * Closes until something is subscribed to again.
   * @param {string} reason
   */
  close(reason) {
    this.#drop(1000);
    this.#stop(reason, null);
  }

  /** Milliseconds since 1970 by the server's clock; by the machine's before the first welcome. */
  get serverNow() {
    const { now, wallClock } = this.#platform;
    const told = Date.parse(this.welcome.now);
    return Number.isNaN(told) ? wallClock() : told + now() - this.#welcomedAt;
  }

  /**
   * Sends a frame, at the rate that the server allows, and returns the id it was given. Only while
   * connected: what waits here is gone with the connection.
   * @param {Frame} frame
   */
  send(frame) {
    const id = ++this.#lastId;
    this.#pace.push(JSON.stringify({ ...frame, id }));
    return id;
  }

  /** @param {unknown} data */
  #receive(data) {
    this.#receivedAt = this.#platform.now();
    this.#awaitsAnswer = false;
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
        this.#arm(PATIENCE, () => this.#lost(ABNORMAL, ""));
        break;
      default:
        if (frame.type === "error" && this.state.state !== "connected") {
          this.#refusal = frame.message;
          return;
        }
        try {
          this.#owner.frame(frame);
        } catch (error) {
          report(error);
        }
    }
  }

  /** @param {Frame} frame */
  #onWelcome(frame) {
    const now = this.#platform.now();
    this.welcome = frame;
    this.#ping = (frame.ping ?? 25) * 1000;
    this.#welcomedAt = now;
    this.#warned = "";
    this.#pace.start(frame.limits ?? {});
    this.#listen(this.#ping);
    this.#set("connected", "", null);
  }

  /**
   * The server lost its store, or reaches it again.
   * @param {boolean} isAvailable
   */
  #onStore(isAvailable) {
    if (this.state.state === "connected") {
      this.#set("connected", isAvailable ? "" : DELAYED, null, !isAvailable);
    }
  }

  /**
   * Checks the connection after a while.
   * @param {number} wait
   */
  #listen(wait) {
    const { now, wallClock } = this.#platform;
    const due = now() + wait;
    const wallDue = wallClock() + wait;
    this.#arm(wait, () => {
      const late = now() - due;
      const silence = now() - this.#receivedAt;
      if (late > ASLEEP) {
        this.#lost(ABNORMAL, "was asleep");
      } else if (this.#awaitsAnswer) {
        this.#lost(ABNORMAL, "no answer");
      } else if (wallClock() - wallDue - late > ASLEEP) {
        // The monotonic clock of some platforms stops with the machine. Or the clock was set:
        // then one ping is spent.
        this.#probe(WAKE_PATIENCE);
      } else if (silence >= this.#ping) {
        this.#probe(PATIENCE);
      } else {
        this.#listen(this.#ping - silence);
      }
    });
  }

  /** @param {number} patience */
  #probe(patience) {
    this.#awaitsAnswer = true;
    // Past the queue: an answer is needed now, and it is one frame in many seconds.
    this.#pace.pushNow(JSON.stringify({ type: "ping", id: ++this.#lastId }));
    this.#listen(patience);
  }

  /** The network, the page or the person is back. @param {Event} event */
  #wake = ({ type }) => {
    if (globalThis.document?.visibilityState === "hidden" && !this.#isParked) return;
    const { now, random } = this.#platform;
    if (this.#socket === null) {
      if (this.#isWaitAsked) return;
      if (type !== "online" || this.#isParked) this.#dialNow();
      else this.#hasten(random() * ONLINE_WAIT);
    } else if (this.state.state !== "connected") {
      // A handshake from before the sleep is answered by nobody.
      if (now() - this.#dialedAt <= WAKE_PATIENCE) return;
      this.#drop();
      this.#dialNow();
    } else if (this.#closing === null) {
      if (this.#awaitsAnswer) this.#hasten(WAKE_PATIENCE);
      else this.#probe(WAKE_PATIENCE);
    }
  };

  #dialNow() {
    this.#isParked = false;
    this.#arm(0, null);
    this.#dial();
  }

  /**
   * Brings the timer forward.
   * @param {number} wait
   */
  #hasten(wait) {
    if (this.#callback !== null && this.#platform.now() + wait < this.#due) {
      this.#arm(wait, this.#callback);
    }
  }

  /**
   * The page goes into the back/forward cache, where a connection does not live: close it.
   * @param {any} event
   */
  #hide = ({ persisted }) => {
    if (!persisted || this.state.state === "disconnected") return;
    this.#drop(1000);
    this.#isParked = true;
    this.#isWaitAsked = false;
    this.#set("connecting", HIDDEN, null);
  };

  /**
   * @param {number} code
   * @param {string} reason
   */
  #lost(code, reason) {
    const now = this.#platform.now();
    const wasWelcomed = this.state.state === "connected";
    const lived = now - this.#welcomedAt;
    const closing = this.#closing;
    if (closing !== null) {
      code = closing.code;
      reason = closing.message;
    }
    reason = this.#refusal || reason || "connection lost";
    this.#drop();
    if (typeof closing?.reconnect === "boolean" ? !closing.reconnect : staysAway(code)) {
      this.#stop(reason, code);
      // Somebody who signs out knows, and the page is left.
      if (code === SIGNED_OUT) return;
      this.#warn(`${reason} (${code}). Nothing is tried until something is subscribed to.`);
      return;
    }
    if (!this.#owner.isWanted()) {
      this.#stop("", null);
      return;
    }
    if (wasWelcomed && lived >= STILLBORN) {
      this.#failures = 0;
      this.#diagnosis = "";
    } else {
      this.#failures += 1;
    }
    // A server that welcomes and falls over at once is not to be asked again at full speed.
    if (wasWelcomed && lived >= STABLE) this.#attempt = 0;
    this.#waitAndDial(code, closing?.retry_after);
    if (code === OVERLOADED) this.#warn(`${reason} (${code}). Trying again.`);
    this.#set("connecting", this.#diagnosis || reason, code);
    if (this.#failures % FAILURES_PER_DIAGNOSIS === FAILURES && closing === null) {
      this.#diagnose(code);
    }
  }

  /**
   * @param {number} code
   * @param {unknown} retryAfter Seconds.
   */
  #waitAndDial(code, retryAfter) {
    const { random } = this.#platform;
    let wait = backoff(this.#attempt++, random);
    if (typeof retryAfter === "number") wait = (retryAfter + random()) * 1000;
    else if (code === RESTART) wait = random() * RESTART_WAIT;
    this.#isWaitAsked = typeof retryAfter === "number" || code === RESTART;
    this.#arm(wait, () => this.#dial());
  }

  /** @param {number} code */
  async #diagnose(code) {
    const { reason, retryAfter } = await this.#owner.diagnose();
    // Meanwhile it may have succeeded, or nothing may be wanted any more.
    if (this.state.state !== "connecting" || this.#failures === 0) return;
    this.#diagnosis = reason;
    if (retryAfter !== null && this.#socket === null) this.#waitAndDial(code, retryAfter);
    this.#warn(`no connection: ${reason}. Trying again.`);
    this.#set("connecting", reason, this.state.code);
  }

  /**
   * Reports what a page might show to nobody; once until the next success.
   * @param {string} text
   */
  #warn(text) {
    if (text === this.#warned) return;
    this.#warned = text;
    this.#platform.warn(`realtime: ${text}`);
  }

  /**
   * Lets go of the socket without waiting for its close, which a dead network never brings.
   * @param {number} [code]
   */
  #drop(code) {
    const socket = this.#socket;
    this.#socket = null;
    this.#awaitsAnswer = false;
    this.#pace.clear();
    this.#arm(0, null);
    socket?.close(code);
  }

  /**
   * @param {string} reason
   * @param {number | null} code
   */
  #stop(reason, code) {
    const { events } = this.#platform;
    for (const name of WAKING) events.removeEventListener(name, this.#wake);
    events.removeEventListener("pagehide", this.#hide);
    this.#isParked = false;
    this.#failures = 0;
    this.#diagnosis = "";
    this.#set("disconnected", reason, code);
  }

  /** @type {(() => void) | null} */
  #callback = null;

  /**
   * @param {number} wait
   * @param {(() => void) | null} callback
   */
  #arm(wait, callback) {
    const { now, setTimeout, clearTimeout } = this.#platform;
    clearTimeout(this.#timer);
    this.#callback = callback;
    this.#due = now() + wait;
    this.#timer = callback === null ? null : setTimeout(callback, wait);
  }

  /**
   * @param {State} state
   * @param {string} reason
   * @param {number | null} code
   * @param {boolean} [delayed]
   */
  #set(state, reason, code, delayed = false) {
    const before = this.state;
    this.state = { state, reason, code, delayed };
    if (state !== before.state || reason !== before.reason) this.#owner.state(this.state);
  }
}

/**
 * Reads a frame; one of no type when it is none.
 * @param {unknown} data
 * @returns {Frame}
 */
function parse(data) {
  try {
    const frame = JSON.parse(/** @type {string} */ (data));
    if (typeof frame?.type === "string") return frame;
  } catch {
    // Not from this service; the connection itself is well.
  }
  return { type: "" };
}
