/**
 * A platform that the test controls: a clock that the test moves, random numbers with a seed, and
 * a server whose frames the test sends.
 */

import assert from "node:assert/strict";

import { connect } from "../../static/realtime/src/client.mjs";

/** Timers that run when the test moves the clock. */
export class FakeClock {
  time = 1_000_000;
  #lastId = 0;
  /** @type {Map<number, {at: number, callback: () => void}>} */
  #timers = new Map();

  /** Milliseconds by which the wall clock is ahead of the monotonic one, besides a constant. */
  ahead = 0;

  now = () => this.time;
  wallClock = () => 1_800_000_000_000 + this.time + this.ahead;

  /** @type {(callback: () => void, wait: number) => number} */
  setTimeout = (callback, wait) => {
    this.#timers.set(++this.#lastId, { at: this.time + wait, callback });
    return this.#lastId;
  };

  /** @type {(id: number) => void} */
  clearTimeout = (id) => {
    this.#timers.delete(id);
  };

  get pending() {
    return this.#timers.size;
  }

  /** Milliseconds until the next timer. */
  get next() {
    return Math.min(...[...this.#timers.values()].map(({ at }) => at)) - this.time;
  }

  /**
   * Moves the clock, and runs each timer at its time.
   * @param {number} milliseconds
   */
  async advance(milliseconds) {
    const end = this.time + milliseconds;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end);
      due.sort(([, a], [, b]) => a.at - b.at);
      const first = due[0];
      if (first === undefined) break;
      const [id, { at, callback }] = first;
      this.#timers.delete(id);
      this.time = Math.max(this.time, at);
      callback();
      await settled();
    }
    this.time = end;
    await settled();
  }
}

/** Waits until all pending promises have settled. */
export function settled() {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * Returns a generator of random numbers with a seed (mulberry32).
 * @param {number} seed
 */
export function seeded(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** One connection, as the server sees it. */
export class FakeSocket {
  /** @type {((event: {data: unknown}) => void) | null} */
  onmessage = null;
  /** @type {((event: {code: number, reason: string}) => void) | null} */
  onclose = null;
  /** The frames that the client sent. @type {any[]} */
  sent = [];
  /** Ids of frames that a test has answered. @type {Set<number>} */
  answered = new Set();
  answersPings = false;
  isClosed = false;
  /** @type {number | undefined} */
  closeCode = undefined;

  /** @param {string} url */
  constructor(url) {
    this.url = url;
  }

  /** @param {string} text */
  send(text) {
    assert.equal(this.isClosed, false, "sent on a closed socket");
    const frame = JSON.parse(text);
    this.sent.push(frame);
    if (this.answersPings && frame.type === "ping") this.deliver({ type: "pong", id: frame.id });
  }

  /** @param {number} [code] */
  close(code) {
    this.isClosed = true;
    this.closeCode = code;
  }

  /**
   * Returns the frames of a type that the client sent.
   * @param {string} type
   * @returns {any[]}
   */
  all(type) {
    return this.sent.filter((frame) => frame.type === type);
  }

  /**
   * Returns the last frame of a type that the client sent.
   * @param {string} type
   */
  last(type) {
    const frame = this.all(type).at(-1);
    assert.ok(frame, `no frame of type ${type} was sent: ${JSON.stringify(this.sent)}`);
    return frame;
  }

  /**
   * Sends a frame to the client.
   * @param {object} frame
   */
  async deliver(frame) {
    this.onmessage?.({ data: JSON.stringify(frame) });
    await settled();
  }

  /** @param {object} [limits] */
  welcome(limits = {}) {
    return this.deliver({
      type: "welcome",
      protocol: 1,
      ping: 25,
      now: "2026-11-28T08:00:00.000Z",
      limits: {
        subscriptions: 128, frame_bytes: 16384, frames_per_second: 10, frame_burst: 50,
        refusals_per_minute: 20, ...limits,
      },
    });
  }

  /**
   * Answers the last `subscribe` (of the topic, if given).
   * @param {object} answer
   * @param {string} [topic]
   */
  subscribed(answer, topic) {
    const request = this.all("subscribe")
      .filter((one) => topic === undefined || one.topic === topic)
      .at(-1);
    assert.ok(request, "nothing was subscribed to");
    const { id } = request;
    return this.deliver({
      type: "subscribed",
      id,
      topic: request.topic,
      epoch: "k3x9",
      offset: 0,
      ...("events" in answer ? { recovered: true } : { recovered: false, snapshot: [] }),
      ...answer,
    });
  }

  /**
   * @param {number} offset
   * @param {object} status
   * @param {object} [more]
   */
  event(offset, status, more = {}) {
    return this.deliver({ type: "event", topic: "task:t1", epoch: "k3x9", offset, status, ...more });
  }

  /**
   * @param {number} code
   * @param {string} [reason]
   */
  async cut(code, reason = "") {
    this.isClosed = true;
    this.onclose?.({ code, reason });
    await settled();
  }
}

/**
 * Returns a complete status.
 * @param {number} version
 * @param {string} [state]
 * @param {object} [more]
 */
export function status(version, state = "PROGRESS", more = {}) {
  return {
    task_id: "t1", name: "tasks.demo", state, version, run: 1, attempt: 0,
    progress: state === "PROGRESS" ? { current: version, total: 100, message: null } : null,
    result: null, truncated: false, error: null,
    eta: null, retry_at: null, cancelling: false,
    root_id: "t1", parent_id: null, group_id: null,
    published_at: "2026-11-22T08:00:00.000Z", started_at: null, finished_at: null,
    updated_at: "2026-11-22T08:00:00.000Z",
    ...more,
  };
}

/**
 * The HTTP side of the service. It records the requests, and the test sets the answer.
 */
export class FakeSite {
  /** @type {{url: string, method: string, headers: any, body: any}[]} */
  requests = [];

  /** @type {(body: any, url: string) => Response | Promise<Response>} */
  answer = () => Response.json({ error: { code: "not_found", message: "no" } }, { status: 404 });

  /** @param {string} url @param {RequestInit} [options] */
  fetch = async (url, options = {}) => {
    const body = options.body === undefined ? null : JSON.parse(String(options.body));
    this.requests.push({ url, method: options.method ?? "GET", headers: options.headers, body });
    return this.answer(body, url);
  };

  /** Grants all requested topics except these. @param {string[]} [refused] */
  grant(refused = []) {
    let made = 0;
    this.answer = ({ topics }) => {
      const granted = topics.filter((/** @type {string} */ topic) => !refused.includes(topic));
      const token = granted.length > 0 ? `renewed-${++made}` : null;
      return Response.json({ token, topics: granted, refused, expires_in: 900 }, { status: 201 });
    };
  }
}

/**
 * Returns a client on a fake platform. With `location` it runs in a page of that address.
 * @param {{random?: () => number, location?: string, config?: object, answersPings?: boolean}}
 *   [options]
 */
export function setUp({ random = () => 0.5, location, config = {}, answersPings = false } = {}) {
  const site = new FakeSite();
  /** @type {string[]} */
  const warnings = [];
  const clock = new FakeClock();
  const events = new EventTarget();
  /** @type {FakeSocket[]} */
  const sockets = [];
  class Socket extends FakeSocket {
    answersPings = answersPings;

    /** @param {string} url */
    constructor(url) {
      super(url);
      sockets.push(this);
    }
  }
  const tasks = connect("http://example.test/realtime/ws/", {
    WebSocket: Socket,
    setTimeout: clock.setTimeout,
    clearTimeout: clock.clearTimeout,
    now: clock.now,
    wallClock: clock.wallClock,
    fetch: site.fetch,
    warn: (text) => warnings.push(text),
    location,
    config,
    random,
    events,
  });
  return {
    clock,
    site,
    warnings,
    events,
    sockets,
    tasks,
    /** The newest connection. */
    get socket() {
      const socket = sockets.at(-1);
      assert.ok(socket, "nothing has connected");
      return socket;
    },
    /** Lets the client connect, and welcomes it. */
    async welcomed() {
      await settled();
      await this.socket.welcome();
      return this.socket;
    },
    /** Waits for the next attempt, and welcomes it. */
    async back() {
      const before = sockets.length;
      await clock.advance(clock.next);
      assert.equal(sockets.length, before + 1, "the client did not reconnect once");
      await this.socket.welcome();
      return this.socket;
    },
  };
}

/**
 * Returns the list of the values that a handler receives.
 * @param {(handler: (value: any) => void) => unknown} on
 */
export function collect(on) {
  /** @type {any[]} */
  const values = [];
  on((value) => values.push(value));
  return values;
}

/**
 * Returns the versions of statuses.
 * @param {{version: number}[]} statuses
 */
export function versions(statuses) {
  return statuses.map(({ version }) => version);
}

/**
 * Returns the errors that are reported while `act` runs.
 * @param {() => Promise<void>} act
 */
export async function reported(act) {
  /** @type {unknown[]} */
  const errors = [];
  const { error } = console;
  console.error = (value) => errors.push(value);
  try {
    await act();
  } finally {
    console.error = error;
  }
  return errors;
}
