import assert from "node:assert/strict";
import { test } from "node:test";

import { Realtime } from "../../static/realtime/src/client.mjs";
import { backoff } from "../../static/realtime/src/retry.mjs";
import { collect, FakeSocket, seeded, setUp, settled, status } from "./fake.js";

test("it connects only when something is subscribed to", async () => {
  const { tasks, sockets } = setUp();
  await settled();
  assert.equal(sockets.length, 0);
  assert.equal(tasks.state.state, "disconnected");
  tasks.task("t1");
  await settled();
  assert.equal(sockets.length, 1);
  assert.equal(sockets[0]?.url, "ws://example.test/realtime/ws/");
  assert.equal(tasks.state.state, "connecting");
});

test("without a WebSocket the error names what the client needs", () => {
  const { WebSocket } = globalThis;
  Reflect.deleteProperty(globalThis, "WebSocket");
  try {
    assert.throws(() => new Realtime("ws://example.test/"), /Node 22/);
  } finally {
    if (WebSocket !== undefined) globalThis.WebSocket = WebSocket;
  }
});

test("an address of https becomes one of wss", async () => {
  const urls = /** @type {string[]} */ ([]);
  class Refused {
    /** @param {string} url */
    constructor(url) {
      urls.push(url);
      throw new Error("refused by policy");
    }
  }
  const tasks = new Realtime("https://example.test/ws/", { WebSocket: /** @type {any} */ (Refused) });
  const handle = tasks.task("t1");
  await assert.rejects(handle.done(), { code: "disconnected", message: /refused by policy/ });
  assert.deepEqual(urls, ["wss://example.test/ws/"]);
  assert.equal(tasks.state.state, "disconnected");
});

test("the state is reported with its reason, and as an event", async () => {
  const fake = setUp();
  const states = collect((handler) => fake.tasks.onState(handler));
  const events = /** @type {any[]} */ ([]);
  fake.tasks.addEventListener("state", (event) => {
    events.push(/** @type {CustomEvent} */ (event).detail.state);
  });
  await settled();
  fake.tasks.task("t1");
  await fake.welcomed();
  await fake.socket.cut(1006);
  await fake.back();
  fake.tasks.close();
  assert.deepEqual(states, [
    { state: "disconnected", reason: "", code: null, delayed: false },
    { state: "connecting", reason: "", code: null, delayed: false },
    { state: "connected", reason: "", code: null, delayed: false },
    { state: "connecting", reason: "connection lost", code: 1006, delayed: false },
    { state: "connected", reason: "", code: null, delayed: false },
    { state: "disconnected", reason: "closed", code: null, delayed: false },
  ]);
  assert.deepEqual(events, states.slice(1).map(({ state }) => state));
});

test("an undone state handler is not called any more", async () => {
  const fake = setUp();
  /** @type {string[]} */
  const states = [];
  const undo = fake.tasks.onState(({ state }) => states.push(state));
  await settled();
  undo();
  fake.tasks.task("t1");
  await fake.welcomed();
  assert.deepEqual(states, ["disconnected"]);
});

test("the wait has full jitter, up to 20 s", () => {
  const random = seeded(7);
  for (let attempt = 0; attempt < 12; attempt += 1) {
    const top = Math.min(20_000, 500 * 2 ** attempt);
    const waits = Array.from({ length: 2000 }, () => backoff(attempt, random));
    assert.ok(waits.every((wait) => wait >= 0 && wait < top));
    assert.ok(Math.min(...waits) < top * 0.02, "the low end is used");
    assert.ok(Math.max(...waits) > top * 0.98, "the high end is used");
  }
});

test("waits grow while connections fail, and while connections are short-lived", async () => {
  const fake = setUp({ random: () => 1 });
  fake.tasks.task("t1");
  await settled();
  const waits = [];
  for (let i = 0; i < 8; i += 1) {
    if (i % 2) await fake.socket.welcome();
    await fake.socket.cut(1006);
    waits.push(fake.clock.next);
    await fake.clock.advance(fake.clock.next);
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]);
});

test("after a connection of 10 s the next wait is short again", async () => {
  const fake = setUp({ random: () => 1 });
  fake.tasks.task("t1");
  await settled();
  for (let i = 0; i < 5; i += 1) {
    await fake.socket.cut(1006);
    await fake.clock.advance(fake.clock.next);
  }
  await fake.socket.welcome();
  await fake.clock.advance(10_000);
  await fake.socket.cut(1006);
  assert.equal(fake.clock.next, 500);
});

test("a subscription during the wait does not cut it short", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  await fake.welcomed();
  await fake.socket.cut(1006);
  fake.tasks.task("t2");
  await settled();
  assert.equal(fake.sockets.length, 1);
  await fake.clock.advance(250);
  assert.equal(fake.sockets.length, 2);
});

test("after a restart the client reconnects within a random 0 to 15 s", async () => {
  const random = seeded(11);
  const waits = [];
  for (let i = 0; i < 300; i += 1) {
    const fake = setUp({ random });
    fake.tasks.task("t1");
    await fake.welcomed();
    await fake.socket.cut(1012);
    waits.push(fake.clock.next);
  }
  assert.ok(waits.every((wait) => wait >= 0 && wait < 15_000));
  assert.ok(Math.min(...waits) < 500 && Math.max(...waits) > 14_500);
});

for (const code of [1000, 4500, 4501, 4503, 4509, 4999]) {
  test(`code ${code} ends the connection, with a warning`, async () => {
    const fake = setUp();
    const handle = fake.tasks.task("t1");
    const errors = collect((handler) => handle.onError(handler));
    await fake.welcomed();
    await fake.socket.cut(code, "because");
    await fake.clock.advance(3_600_000);
    assert.equal(fake.sockets.length, 1);
    assert.deepEqual(fake.tasks.state, { state: "disconnected", reason: "because", code, delayed: false });
    assert.deepEqual(errors.map((error) => error.code), ["disconnected"]);
    await assert.rejects(handle.done(), { code: "disconnected" });
    assert.equal(fake.clock.pending, 0);
  });
}

for (const code of [1001, 1006, 1011, 1012, 1013, 4000, 4001, 4002, 4499]) {
  test(`code ${code} reconnects`, async () => {
    const fake = setUp();
    fake.tasks.task("t1");
    await fake.welcomed();
    await fake.socket.cut(code);
    assert.equal(fake.tasks.state.state, "connecting");
    await fake.back();
  });
}

test("after a final close a new subscription connects again", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  await fake.welcomed();
  await fake.socket.cut(4501);
  fake.tasks.task("t1");
  await fake.welcomed();
  assert.equal(fake.tasks.state.state, "connected");
  assert.equal(fake.socket.all("subscribe").length, 1);
});

test("the code of the closing frame counts, not that of the close", async () => {
  const fake = setUp({ random: () => 0.9 });
  fake.tasks.task("t1");
  const socket = await fake.welcomed();
  await socket.deliver({ type: "closing", code: 1012, message: "server restart", reconnect: true });
  await socket.cut(1006);
  assert.deepEqual(fake.tasks.state, { state: "connecting", reason: "server restart", code: 1012, delayed: false });
  assert.equal(fake.clock.next, 13_500);
});

test("after a closing frame that forbids it the client does not reconnect, though the code is 1006", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  const socket = await fake.welcomed();
  await socket.deliver({ type: "closing", code: 4501, message: "signed out", reconnect: false });
  await socket.cut(1006);
  await fake.clock.advance(60_000);
  assert.equal(fake.sockets.length, 1);
  assert.deepEqual(fake.tasks.state, { state: "disconnected", reason: "signed out", code: 4501, delayed: false });
});

test("a close that was announced and does not arrive ends by a timeout", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  const socket = await fake.welcomed();
  await socket.deliver({ type: "closing", code: 1012, message: "server restart", reconnect: true });
  await fake.clock.advance(10_000);
  assert.equal(socket.isClosed, true);
  assert.equal(fake.tasks.state.code, 1012);
});

test("a closing frame does not affect the next connection", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  let socket = await fake.welcomed();
  await socket.deliver({ type: "closing", code: 1012, message: "server restart", reconnect: true });
  await socket.cut(1012);
  socket = await fake.back();
  await socket.cut(1006);
  assert.equal(fake.tasks.state.code, 1006);
});

test("a connection without a welcome ends after 10 s", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  await settled();
  const [socket] = fake.sockets;
  await fake.clock.advance(9_999);
  assert.equal(socket?.isClosed, false);
  await fake.clock.advance(1);
  assert.equal(socket?.isClosed, true);
  await fake.back();
});

test("the client pings only after the silence that the server named", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  const socket = await fake.welcomed();
  await fake.clock.advance(20_000);
  await socket.subscribed({});
  await fake.clock.advance(24_999);
  assert.equal(socket.all("ping").length, 0);
  await fake.clock.advance(1);
  assert.equal(socket.all("ping").length, 1);
  await socket.deliver({ type: "pong", id: socket.last("ping").id });
  await fake.clock.advance(24_999);
  assert.equal(socket.all("ping").length, 1);
  assert.equal(fake.tasks.state.state, "connected");
});

test("a ping that is not answered within 10 s ends the connection", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  const socket = await fake.welcomed();
  await fake.clock.advance(25_000 + 9_999);
  assert.equal(fake.tasks.state.state, "connected");
  await fake.clock.advance(1);
  assert.equal(socket.isClosed, true);
  assert.equal(fake.tasks.state.reason, "no answer");
  await fake.back();
  assert.equal(fake.tasks.state.state, "connected");
});

test("the late close of a dead connection does not affect the next", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  const socket = await fake.welcomed();
  await fake.clock.advance(35_000);
  await fake.back();
  await socket.cut(4501);
  assert.equal(fake.tasks.state.state, "connected");
  assert.equal(fake.sockets.length, 2);
});

test("a machine that slept connects again without waiting for an answer", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  const socket = await fake.welcomed();
  fake.clock.time += 3_600_000;
  await fake.clock.advance(0);
  assert.equal(socket.isClosed, true);
  assert.equal(fake.tasks.state.reason, "was asleep");
  await fake.back();
});

test("after a timer that a background tab delayed for a minute the client only pings", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  const socket = await fake.welcomed();
  fake.clock.time += 85_000;
  await fake.clock.advance(0);
  assert.equal(fake.tasks.state.state, "connected");
  assert.equal(socket.all("ping").length, 1);
});

for (const name of ["visibilitychange", "pageshow", "resume"]) {
  test(`the event ${name} makes the client connect at once`, async () => {
    const fake = setUp({ random: () => 1 });
    fake.tasks.task("t1");
    await fake.welcomed();
    await fake.socket.cut(1006);
    fake.events.dispatchEvent(new Event(name));
    assert.equal(fake.sockets.length, 2);
    await fake.socket.welcome();
    assert.equal(fake.socket.all("subscribe").length, 1);
    await fake.clock.advance(15_000);
    assert.equal(fake.sockets.length, 2);
  });
}

for (const name of ["online", "visibilitychange", "pageshow", "resume"]) {
  test(`after the event ${name} the client pings, and waits 3 s`, async () => {
    const fake = setUp();
    fake.tasks.task("t1");
    const socket = await fake.welcomed();
    fake.events.dispatchEvent(new Event(name));
    fake.events.dispatchEvent(new Event(name));
    assert.equal(socket.all("ping").length, 1);
    await fake.clock.advance(2_999);
    assert.equal(socket.isClosed, false);
    await fake.clock.advance(1);
    assert.equal(socket.isClosed, true);
  });

  test(`the event ${name} does not shorten a wait that the server requires`, async () => {
    const fake = setUp({ random: () => 0.9 });
    fake.tasks.task("t1");
    await fake.welcomed();
    await fake.socket.cut(1012);
    fake.events.dispatchEvent(new Event(name));
    await fake.clock.advance(13_400);
    assert.equal(fake.sockets.length, 1);
    await fake.clock.advance(200);
    assert.equal(fake.sockets.length, 2);
  });
}

test("when the network returns pages reconnect within a random 0 to 1 s", async () => {
  const waits = [];
  for (let i = 0; i < 200; i += 1) {
    const value = i / 200;
    const fake = setUp({ random: () => value });
    fake.tasks.task("t1");
    await fake.welcomed();
    for (let attempt = 0; attempt < 4; attempt += 1) {
      if (attempt > 0) await fake.clock.advance(fake.clock.next);
      await fake.socket.cut(1006);
    }
    fake.events.dispatchEvent(new Event("online"));
    waits.push(fake.clock.next);
  }
  assert.ok(waits.every((wait) => wait >= 0 && wait < 1000));
  assert.ok(Math.min(...waits) < 10 && Math.max(...waits) > 990);
});

test("a wait that a closing frame requires is kept", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  const socket = await fake.welcomed();
  await socket.deliver({ type: "closing", code: 1013, message: "full", reconnect: true, retry_after: 20 });
  await socket.cut(1013);
  fake.events.dispatchEvent(new Event("online"));
  fake.events.dispatchEvent(new Event("visibilitychange"));
  await fake.clock.advance(19_999);
  assert.equal(fake.sockets.length, 1);
  await fake.clock.advance(1_000);
  assert.equal(fake.sockets.length, 2);
});

/** @param {boolean} persisted */
function pagehide(persisted) {
  return Object.assign(new Event("pagehide"), { persisted });
}

test("a page that enters the back/forward cache closes, and connects once when it is back", async () => {
  const fake = setUp();
  const handle = fake.tasks.task("t1");
  const socket = await fake.welcomed();
  await socket.subscribed({ offset: 4, snapshot: [status(4)] });
  fake.events.dispatchEvent(pagehide(true));
  assert.equal(socket.isClosed, true);
  assert.equal(fake.tasks.state.state, "connecting");
  await fake.clock.advance(3_600_000);
  assert.equal(fake.sockets.length, 1);
  fake.events.dispatchEvent(new Event("pageshow"));
  fake.events.dispatchEvent(new Event("visibilitychange"));
  fake.events.dispatchEvent(new Event("online"));
  await socket.cut(1006);
  assert.equal(fake.sockets.length, 2, "one new connection beside the late close of the old one");
  await fake.socket.welcome();
  assert.deepEqual(fake.socket.last("subscribe").since, { epoch: "k3x9", offset: 4 });
  await fake.socket.subscribed({ offset: 5, events: [{ offset: 5, status: status(5) }] });
  assert.equal(handle.status?.version, 5);
});

test("a page that is not cached keeps its connection", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  const socket = await fake.welcomed();
  fake.events.dispatchEvent(pagehide(false));
  assert.equal(socket.isClosed, false);
});

test("the client does not wait for a handshake from before the machine slept", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  await settled();
  fake.clock.time += 5_000;
  fake.events.dispatchEvent(new Event("visibilitychange"));
  assert.equal(fake.sockets.length, 2);
  assert.equal(fake.sockets[0]?.isClosed, true);
});

test("after a sleep that stopped the monotonic clock the client pings, and waits 3 s", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  const socket = await fake.welcomed();
  await fake.clock.advance(20_000);
  await socket.subscribed({});
  fake.clock.ahead += 3_600_000;
  await fake.clock.advance(5_000);
  assert.equal(socket.all("ping").length, 1);
  await fake.clock.advance(3_000);
  assert.equal(socket.isClosed, true);
});

test("a wall clock that is set back or forward causes one ping, and ends no connection", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  const socket = await fake.welcomed();
  for (const jump of [3_600_000, -7_200_000, 3_600_000]) {
    fake.clock.ahead += jump;
    for (let i = 0; i < 4; i += 1) {
      await fake.clock.advance(12_500);
      if (socket.all("ping").length > 0) await socket.deliver({ type: "pong", id: socket.last("ping").id });
    }
  }
  assert.equal(fake.sockets.length, 1);
  assert.equal(fake.tasks.state.state, "connected");
  assert.ok(socket.all("ping").length <= 8);
});

test("an event of the page does not connect a client that is closed", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  await fake.welcomed();
  fake.tasks.close();
  fake.events.dispatchEvent(new Event("online"));
  await fake.clock.advance(60_000);
  assert.equal(fake.sockets.length, 1);
  assert.equal(fake.sockets[0]?.closeCode, 1000);
  assert.equal(fake.clock.pending, 0);
});

test("without subscriptions the client does not reconnect", async () => {
  const fake = setUp();
  const handle = fake.tasks.task("t1");
  await fake.welcomed();
  handle.close();
  await fake.socket.cut(4000);
  await fake.clock.advance(60_000);
  assert.equal(fake.sockets.length, 1);
  assert.equal(fake.tasks.state.state, "disconnected");
});

test("a message that is no frame of the protocol is ignored", async () => {
  const fake = setUp();
  const handle = fake.tasks.task("t1");
  const socket = await fake.welcomed();
  for (const data of ["", "{", "[]", "null", "7", '{"type":7}', new ArrayBuffer(4)]) {
    socket.onmessage?.({ data });
  }
  await socket.deliver({ type: "unknown", id: 1, topic: "task:t1" });
  await socket.subscribed({ offset: 1, snapshot: [status(1, "PENDING", { later: true })] });
  assert.equal(handle.status?.state, "PENDING");
});

for (const [burst, rate] of [[50, 10], [20, 10], [5, 1], [1, 1], [200, 100]]) {
  test(`the client sends a burst of ${burst} frames, and then ${rate} a second, at most`, async () => {
    const fake = setUp();
    for (let i = 0; i < 60; i += 1) fake.tasks.task(`t${i}`);
    await settled();
    const { socket } = fake;
    await socket.welcome({ frame_burst: burst, frames_per_second: rate });
    // The server's count: its bucket is never below zero.
    let bucket = Number(burst);
    let counted = 0;
    for (let waited = 0; waited < 90_000; waited += 100) {
      bucket = Math.min(Number(burst), bucket + Number(rate) / 10) - (socket.sent.length - counted);
      counted = socket.sent.length;
      assert.ok(bucket >= 0, `${counted} frames after ${waited} ms`);
      await fake.clock.advance(100);
      await socket.deliver({ type: "pong", id: 0 });
    }
    assert.equal(new Set(socket.all("subscribe").map(({ topic }) => topic)).size, 60);
  });
}

test("subscriptions beyond the server's limit wait until others have ended", async () => {
  const fake = setUp();
  const handles = Array.from({ length: 12 }, (_, i) => fake.tasks.task(`t${i}`));
  await settled();
  const { socket } = fake;
  await socket.welcome({ subscriptions: 8 });
  assert.equal(socket.all("subscribe").length, 8);
  assert.match(String(fake.warnings), /allows 8 subscriptions/);
  handles[0]?.close();
  assert.equal(socket.last("subscribe").topic, "task:t8");
  await socket.subscribed(
    { offset: 3, snapshot: [status(3, "SUCCESS", { task_id: "t1" })] }, "task:t1",
  );
  assert.equal(socket.last("subscribe").topic, "task:t9");
  assert.equal(socket.all("subscribe").length, 10);
});

test("a task that failed yields its slot to one that waits, and is subscribed to again later", async () => {
  const fake = setUp();
  const handles = Array.from({ length: 4 }, (_, i) => fake.tasks.task(`t${i}`));
  await settled();
  const { socket } = fake;
  await socket.welcome({ subscriptions: 2 });
  const answer = (/** @type {number} */ i, /** @type {string} */ state) =>
    socket.subscribed({ offset: 3, snapshot: [status(3, state, { task_id: `t${i}` })] }, `task:t${i}`);
  await answer(0, "FAILURE");
  assert.equal(socket.last("unsubscribe").topic, "task:t0");
  assert.equal(socket.last("subscribe").topic, "task:t2");
  assert.equal(handles[0]?.status?.state, "FAILURE");
  await handles[0]?.cancel();
  await answer(1, "STARTED");
  await answer(2, "FAILURE");
  assert.equal(socket.last("subscribe").topic, "task:t3");
  await answer(3, "FAILURE");
  assert.equal(socket.all("subscribe").length, 4, "no other subscription needs its slot");
  handles[1]?.close();
  assert.equal(socket.last("subscribe").topic, "task:t0", "it may run again");
});

test("the client sends no more frames than the server allows", async () => {
  const fake = setUp();
  for (let i = 0; i < 128; i += 1) fake.tasks.task(`t${i}`);
  const socket = await fake.welcomed();
  assert.ok(socket.sent.length <= 50, `${socket.sent.length} at once`);
  const { length } = socket.sent;
  await fake.clock.advance(1000);
  assert.ok(socket.sent.length - length <= 10);
  await fake.clock.advance(11_000);
  assert.equal(new Set(socket.all("subscribe").map(({ topic }) => topic)).size, 128);
});

test("frames that wait are dropped with the connection", async () => {
  const fake = setUp();
  for (let i = 0; i < 100; i += 1) fake.tasks.task(`t${i}`);
  const socket = await fake.welcomed();
  await socket.cut(1006);
  const again = await fake.back();
  await fake.clock.advance(8_000);
  const topics = again.all("subscribe").map(({ topic }) => topic);
  assert.equal(topics.length, new Set(topics).size);
  assert.equal(topics.length, 100);
});

test("a connection without subscriptions closes after 5 s, and not before", async () => {
  const fake = setUp();
  const handle = fake.tasks.task("t1");
  const socket = await fake.welcomed();
  handle.close();
  await fake.clock.advance(4_999);
  assert.equal(socket.isClosed, false);
  const other = fake.tasks.task("t2");
  await fake.clock.advance(60_000 - 35_001);
  assert.equal(socket.isClosed, false, "something is subscribed to again");
  other.close();
  await fake.clock.advance(5_000);
  assert.equal(socket.closeCode, 1000);
  assert.deepEqual(fake.tasks.state, {
    state: "disconnected", reason: "", code: null, delayed: false,
  });
  assert.equal(fake.clock.pending, 0);
  fake.tasks.task("t3");
  await fake.welcomed();
  assert.equal(fake.tasks.state.state, "connected");
});

test("a connection whose tasks have all succeeded closes as well", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  const socket = await fake.welcomed();
  await socket.subscribed({ offset: 3, snapshot: [status(3, "SUCCESS")] });
  await fake.clock.advance(5_000);
  assert.equal(socket.isClosed, true);
});

test("an error before the welcome is the reason, and a warning", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  await settled();
  const { socket } = fake;
  await socket.deliver({ type: "error", code: "limit", message: "10 connections of one user" });
  await socket.deliver({ type: "closing", code: 1013, message: "try again later", reconnect: true });
  await socket.cut(1013);
  assert.equal(fake.tasks.state.state, "connecting");
  assert.equal(fake.tasks.state.reason, "10 connections of one user");
  assert.match(String(fake.warnings), /10 connections of one user \(1013\)/);
});

test("a final close is a warning in the console", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  await fake.welcomed();
  await fake.socket.cut(4503, "too many refused subscriptions");
  assert.match(String(fake.warnings), /too many refused subscriptions \(4503\)/);
});

test("the state reports that the store is unavailable, and that it is available again", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  const socket = await fake.welcomed();
  await socket.deliver({ type: "store", available: false });
  assert.equal(fake.tasks.state.state, "connected");
  assert.equal(fake.tasks.state.delayed, true);
  assert.match(fake.tasks.state.reason, /updates are delayed/);
  await socket.deliver({ type: "store", available: true });
  assert.deepEqual(fake.tasks.state, { state: "connected", reason: "", code: null, delayed: false });
});

for (const [answer, reason] of /** @type {[() => Response, RegExp][]} */ ([
  [() => Response.json({ error: { message: "a WebSocket" } }, { status: 426 }), /a proxy does not pass WebSockets on/],
  [() => Response.json({ error: { message: "this page's origin is not allowed" } }, { status: 403 }), /origin is not allowed \(403\)/],
  [() => new Response("no", { status: 403 }), /refuses this page \(403\)/],
  [() => new Response("<h1>Not Found", { status: 404 }), /no such service at this address \(404\)/],
  [() => Response.json({ error: { message: "this process is about to end" } }, { status: 503 }), /about to end \(503\)/],
  [() => new Response("<form>", { headers: { "Content-Type": "text/html" } }), /signing in is needed/],
  [() => Object.defineProperty(new Response("<form>"), "redirected", { value: true }), /signing in is needed/],
  [() => { throw new TypeError("Failed to fetch"); }, /cannot be reached/],
])) {
  test(`after two failed handshakes one request finds the reason: ${reason}`, async () => {
    const fake = setUp({ location: "http://example.test/page" });
    fake.site.answer = answer;
    fake.tasks.task("t1");
    await settled();
    await fake.socket.cut(1006);
    assert.equal(fake.tasks.state.reason, "connection lost");
    await fake.clock.advance(fake.clock.next);
    await fake.socket.cut(1006);
    await settled();
    assert.match(fake.tasks.state.reason, reason);
    assert.match(String(fake.warnings), reason);
    assert.equal(fake.site.requests[0]?.url, "http://example.test/realtime/ws/");
    assert.equal(fake.site.requests[0]?.headers["X-Realtime-Origin"], "http://example.test");
    for (let i = 0; i < 4; i += 1) {
      await fake.clock.advance(fake.clock.next);
      await fake.socket.cut(1006);
      assert.match(fake.tasks.state.reason, reason);
    }
    assert.equal(fake.site.requests.length, 1);
    await fake.back();
    assert.equal(fake.tasks.state.reason, "");
  });
}

test("a wait that a refused handshake requires is kept", async () => {
  const fake = setUp({ location: "http://example.test/page" });
  fake.site.answer = () => new Response("full", { status: 503, headers: { "Retry-After": "30" } });
  fake.tasks.task("t1");
  await settled();
  await fake.socket.cut(1006);
  await fake.clock.advance(fake.clock.next);
  await fake.socket.cut(1006);
  await settled();
  fake.events.dispatchEvent(new Event("online"));
  await fake.clock.advance(29_000);
  assert.equal(fake.sockets.length, 2);
  await fake.clock.advance(2_000);
  assert.equal(fake.sockets.length, 3);
});

test("a proxy that accepts and closes counts as a failure, and the waits grow", async () => {
  const fake = setUp({ random: () => 1, location: "http://example.test/page" });
  fake.site.answer = () => new Response("", { status: 426 });
  fake.tasks.task("t1");
  await settled();
  const waits = [];
  for (let i = 0; i < 6; i += 1) {
    await fake.socket.welcome();
    await fake.clock.advance(500);
    await fake.socket.cut(1006);
    await settled();
    waits.push(fake.clock.next);
    await fake.clock.advance(fake.clock.next);
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16_000]);
  assert.match(fake.warnings.join(), /does not pass WebSockets on/);
  assert.equal(fake.site.requests.length, 1);
});

test("there is one attempt at a time, whatever events the page has", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  await settled();
  for (let i = 0; i < 20; i += 1) {
    for (const name of ["online", "visibilitychange", "pageshow", "resume"]) {
      fake.events.dispatchEvent(new Event(name));
    }
    await fake.clock.advance(100);
  }
  assert.equal(fake.sockets.filter(({ isClosed }) => !isClosed).length, 1);
});

test("the server's clock comes from its welcome", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  await fake.welcomed();
  fake.clock.ahead += 3_600_000;
  await fake.clock.advance(2_000);
  assert.equal(fake.tasks.serverTime.toISOString(), "2026-11-28T08:00:02.000Z");
});

test("clients of one address share a connection, each closes its own handles", async () => {
  const sockets = /** @type {FakeSocket[]} */ ([]);
  const { WebSocket } = globalThis;
  globalThis.WebSocket = /** @type {any} */ (class extends FakeSocket {
    /** @param {string} url */
    constructor(url) {
      super(url);
      sockets.push(this);
    }
  });
  try {
    const clients = Array.from({ length: 12 }, () => new Realtime("ws://shared.test/realtime/ws/"));
    const handles = clients.map((client, i) => client.task(`t${i % 3}`));
    await settled();
    assert.equal(sockets.length, 1);
    const [socket] = /** @type {[FakeSocket]} */ (sockets);
    await socket.welcome();
    assert.equal(socket.all("subscribe").length, 3);
    clients[0]?.close();
    assert.equal(socket.isClosed, false);
    assert.equal(socket.all("unsubscribe").length, 0);
    await assert.rejects(/** @type {any} */ (handles[0]).done(), { code: "closed" });
    const other = new Realtime("ws://other.test/realtime/ws/");
    other.task("t1");
    await settled();
    assert.equal(sockets.length, 2);
    for (const client of [...clients, other]) client.close();
    assert.deepEqual(sockets.map(({ isClosed }) => isClosed), [true, true]);
    assert.ok(/** @type {any} */ (globalThis)[Symbol.for("realtime.1")] instanceof Map);
  } finally {
    globalThis.WebSocket = WebSocket;
  }
});
