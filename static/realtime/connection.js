/**
 * One WebSocket that comes back: waits with jitter, a heartbeat, and an honest state.
 */

import { report } from "./listeners.js";

/**
 * - `connecting`: not connected, and trying by itself, at once or after a wait;
 * - `connected`: the server has said welcome;
 * - `disconnected`: nothing is tried until something is subscribed to.
 * @typedef {"connecting" | "connected" | "disconnected"} State
 */

/**
 * `reason` is text for people, empty when there is nothing to say; `code` is the close code that
 * led here, if one did.
 * @typedef {{state: State, reason: string, code: number | null}} ConnectionState
 */

/** @typedef {Record<string, any> & {type: string}} Frame A JSON object of the contract. */

/**
 * The part of a WebSocket that is used.
 * @typedef {object} Socket
 * @property {((event: {data: unknown}) => void) | null} onmessage
 * @property {((event: {code: number, reason: string}) => void) | null} onclose
 * @property {(text: string) => void} send
 * @property {(code?: number) => void} close
 */

/**
 * What the platform gives; a test gives its own.
 * @typedef {object} Platform
 * @property {new (url: string) => Socket} WebSocket
 * @property {(callback: () => void, milliseconds: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} now Milliseconds; goes on while the machine sleeps.
 * @property {() => number} random From 0 to below 1.
 * @property {Pick<EventTarget, "addEventListener" | "removeEventListener">} events
 *   Where `online`, `pageshow` and `visibilitychange` are heard: the window.
 */

// Milliseconds.
const FIRST_WAIT = 500;
const LONGEST_WAIT = 20_000;
const RESTART_WAIT = 15_000;
/** How long a connection must have lived for the next wait to be short again. */
const STEADY = 10_000;
/** How long the server may take to welcome, to answer a ping, or to close after saying so. */
const PATIENCE = 10_000;
/** A timer this late was asleep with its machine; tabs in the background are a minute late. */
const ASLEEP = 90_000;

// The server answers more than 10 frames a second beyond a burst of 50 by closing for good
// (4503), which a page with 128 subscriptions would reach whenever it comes back.
const BURST = 40;
const FRAMES_PER_SECOND = 8;

const RESTART = 1012;
const ABNORMAL = 1006;

const WAKING = ["online", "pageshow", "visibilitychange"];

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
  state = { state: "disconnected", reason: "", code: null };

  #url;
  #platform;
  #on;

  /** @type {Socket | null} */
  #socket = null;

  /** The next attempt, the end of patience or the next heartbeat: never two. @type {any} */
  #timer = null;

  #attempt = 0;
  #ping = 0;
  #welcomedAt = 0;
  #heardAt = 0;
  #awaitsAnswer = false;
  #lastId = 0;

  /** @type {Frame | null} */
  #closing = null;

  /** @type {string[]} */
  #queue = [];
  #allowance = BURST;
  #allowedAt = 0;
  /** @type {any} */
  #paceTimer = null;

  /**
   * @param {string} url
   * @param {Platform} platform
   * @param {object} on
   * @param {(state: ConnectionState) => void} on.state
   * @param {(frame: Frame) => void} on.frame Every frame but those of the connection itself.
   * @param {() => boolean} on.wanted Says whether there is anything to come back for.
   */
  constructor(url, platform, on) {
    this.#url = url;
    this.#platform = platform;
    this.#on = on;
  }

  /** Connects, and comes back from then on; a wait before the next attempt is not cut short. */
  open() {
    if (this.state.state !== "disconnected") return;
    for (const name of WAKING) this.#platform.events.addEventListener(name, this.#wake);
    this.#set("connecting", "", null);
    this.#dial();
  }

  #dial() {
    // Whoever was told "connecting" may have closed the client.
    if (this.state.state === "disconnected" || this.#socket !== null) return;
    this.#closing = null;
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

  /** Closes for good. */
  close() {
    this.#drop(1000);
    this.#stop("closed", null);
  }

  /**
   * Sends a frame, at the pace that the server allows, and returns the id it was given. Only for
   * a connected one: what waits here is gone with the connection.
   * @param {Frame} frame
   */
  send(frame) {
    const id = ++this.#lastId;
    this.#queue.push(JSON.stringify({ ...frame, id }));
    if (this.#paceTimer === null) this.#flush();
    return id;
  }

  #flush() {
    const now = this.#platform.now();
    const earned = (Math.max(0, now - this.#allowedAt) / 1000) * FRAMES_PER_SECOND;
    this.#allowance = Math.min(BURST, this.#allowance + earned);
    this.#allowedAt = now;
    while (this.#allowance >= 1) {
      const text = this.#queue.shift();
      if (text === undefined) return;
      this.#allowance -= 1;
      this.#socket?.send(text);
    }
    if (this.#queue.length === 0) return;
    this.#paceTimer = this.#platform.setTimeout(() => {
      this.#paceTimer = null;
      this.#flush();
    }, 1000 / FRAMES_PER_SECOND);
  }

  /** @param {unknown} data */
  #receive(data) {
    this.#heardAt = this.#platform.now();
    this.#awaitsAnswer = false;
    const frame = parse(data);
    switch (frame.type) {
      case "":
      case "pong":
        break;
      case "welcome":
        this.#welcome(frame);
        break;
      case "closing":
        // Kept, since neither code nor reason of the close itself is sure to arrive.
        this.#closing = frame;
        this.#arm(PATIENCE, () => this.#lost(ABNORMAL, ""));
        break;
      default:
        try {
          this.#on.frame(frame);
        } catch (error) {
          report(error);
        }
    }
  }

  /** @param {Frame} frame */
  #welcome(frame) {
    const now = this.#platform.now();
    this.#ping = frame.ping * 1000;
    this.#welcomedAt = now;
    this.#allowance = BURST;
    this.#allowedAt = now;
    this.#listen(this.#ping);
    this.#set("connected", "", null);
  }

  /**
   * Looks at the connection again after a while.
   * @param {number} wait
   */
  #listen(wait) {
    const due = this.#platform.now() + wait;
    this.#arm(wait, () => {
      const now = this.#platform.now();
      const silence = now - this.#heardAt;
      if (now - due > ASLEEP) {
        this.#lost(ABNORMAL, "was asleep");
      } else if (this.#awaitsAnswer) {
        this.#lost(ABNORMAL, "no answer");
      } else if (silence >= this.#ping) {
        this.#probe();
      } else {
        this.#listen(this.#ping - silence);
      }
    });
  }

  #probe() {
    this.#awaitsAnswer = true;
    // Past the queue: an answer is needed now, and it is one frame in many seconds.
    this.#socket?.send(JSON.stringify({ type: "ping", id: ++this.#lastId }));
    this.#listen(PATIENCE);
  }

  /** The network, the page or the person is back. */
  #wake = () => {
    if (globalThis.document?.visibilityState === "hidden") return;
    if (this.#socket === null) {
      this.#dial();
    } else if (this.state.state === "connected" && !this.#awaitsAnswer && !this.#closing) {
      this.#probe();
    }
  };

  /**
   * @param {number} code
   * @param {string} reason
   */
  #lost(code, reason) {
    const now = this.#platform.now();
    const welcomed = this.state.state === "connected";
    const said = this.#closing;
    if (said !== null) {
      code = said.code;
      reason = said.message;
    }
    reason ||= "connection lost";
    this.#drop();
    if (typeof said?.reconnect === "boolean" ? !said.reconnect : staysAway(code)) {
      this.#stop(reason, code);
      return;
    }
    if (!this.#on.wanted()) {
      this.#stop("", null);
      return;
    }
    // A server that welcomes and falls over at once is not to be asked again at full speed.
    if (welcomed && now - this.#welcomedAt >= STEADY) this.#attempt = 0;
    const { random } = this.#platform;
    const wait =
      code === RESTART ? random() * RESTART_WAIT : backoff(this.#attempt++, random);
    this.#arm(wait, () => this.#dial());
    this.#set("connecting", reason, code);
  }

  /**
   * Lets go of the socket without waiting for its close, which a dead network never brings.
   * @param {number} [code]
   */
  #drop(code) {
    const socket = this.#socket;
    this.#socket = null;
    this.#queue = [];
    this.#arm(0, null);
    this.#platform.clearTimeout(this.#paceTimer);
    this.#paceTimer = null;
    socket?.close(code);
  }

  /**
   * @param {string} reason
   * @param {number | null} code
   */
  #stop(reason, code) {
    for (const name of WAKING) this.#platform.events.removeEventListener(name, this.#wake);
    this.#set("disconnected", reason, code);
  }

  /**
   * @param {number} wait
   * @param {(() => void) | null} callback
   */
  #arm(wait, callback) {
    this.#platform.clearTimeout(this.#timer);
    this.#timer = callback === null ? null : this.#platform.setTimeout(callback, wait);
  }

  /**
   * @param {State} state
   * @param {string} reason
   * @param {number | null} code
   */
  #set(state, reason, code) {
    const { state: before, reason: why } = this.state;
    this.state = { state, reason, code };
    if (state !== before || reason !== why) this.#on.state(this.state);
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
