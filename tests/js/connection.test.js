import assert from "node:assert/strict";
import { test } from "node:test";

import { Realtime } from "../../static/realtime/client.js";
import { backoff } from "../../static/realtime/connection.js";
import { collect, seeded, setUp, settled, status } from "./fake.js";

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

test("without a WebSocket it says what is needed", () => {
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

test("the state is told with its reason, and as an event", async () => {
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
    { state: "disconnected", reason: "", code: null },
    { state: "connecting", reason: "", code: null },
    { state: "connected", reason: "", code: null },
    { state: "connecting", reason: "connection lost", code: 1006 },
    { state: "connected", reason: "", code: null },
    { state: "disconnected", reason: "closed", code: null },
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

test("the waits grow while connections fail, and also while they only just live", async () => {
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

test("a connection that lived 10 s makes the next wait short again", async () => {
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

test("after a restart it comes back within a random 0 to 15 s", async () => {
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
  test(`code ${code} stays away, and says so`, async () => {
    const fake = setUp();
    const handle = fake.tasks.task("t1");
    const errors = collect((handler) => handle.onError(handler));
    await fake.welcomed();
    await fake.socket.cut(code, "because");
    await fake.clock.advance(3_600_000);
    assert.equal(fake.sockets.length, 1);
    assert.deepEqual(fake.tasks.state, { state: "disconnected", reason: "because", code });
    assert.deepEqual(errors.map((error) => error.code), ["disconnected"]);
    await assert.rejects(handle.done(), { code: "disconnected" });
    assert.equal(fake.clock.pending, 0);
  });
}

for (const code of [1001, 1006, 1011, 1012, 1013, 4000, 4001, 4002, 4499]) {
  test(`code ${code} comes back`, async () => {
    const fake = setUp();
    fake.tasks.task("t1");
    await fake.welcomed();
    await fake.socket.cut(code);
    assert.equal(fake.tasks.state.state, "connecting");
    await fake.back();
  });
}

test("after staying away a new subscription connects again", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  await fake.welcomed();
  await fake.socket.cut(4501);
  fake.tasks.task("t1");
  await fake.welcomed();
  assert.equal(fake.tasks.state.state, "connected");
  assert.equal(fake.socket.all("subscribe").length, 1);
});

test("the closing frame counts, not the code the close arrives with", async () => {
  const fake = setUp({ random: () => 0.9 });
  fake.tasks.task("t1");
  const socket = await fake.welcomed();
  await socket.say({ type: "closing", code: 1012, message: "server restart", reconnect: true });
  await socket.cut(1006);
  assert.deepEqual(fake.tasks.state, { state: "connecting", reason: "server restart", code: 1012 });
  assert.equal(fake.clock.next, 13_500);
});

test("a closing frame that asks to stay away is obeyed after a 1006", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  const socket = await fake.welcomed();
  await socket.say({ type: "closing", code: 4501, message: "signed out", reconnect: false });
  await socket.cut(1006);
  await fake.clock.advance(60_000);
  assert.equal(fake.sockets.length, 1);
  assert.deepEqual(fake.tasks.state, { state: "disconnected", reason: "signed out", code: 4501 });
});

test("a close that was announced and does not come is not waited for", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  const socket = await fake.welcomed();
  await socket.say({ type: "closing", code: 1012, message: "server restart", reconnect: true });
  await fake.clock.advance(10_000);
  assert.equal(socket.isClosed, true);
  assert.equal(fake.tasks.state.code, 1012);
});

test("a closing frame of one connection is forgotten with it", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  let socket = await fake.welcomed();
  await socket.say({ type: "closing", code: 1012, message: "server restart", reconnect: true });
  await socket.cut(1012);
  socket = await fake.back();
  await socket.cut(1006);
  assert.equal(fake.tasks.state.code, 1006);
});

test("a server that does not welcome is given up after 10 s", async () => {
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

test("it pings only when nothing was heard for the time the server named", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  const socket = await fake.welcomed();
  await fake.clock.advance(20_000);
  await socket.subscribed({});
  await fake.clock.advance(24_999);
  assert.equal(socket.all("ping").length, 0);
  await fake.clock.advance(1);
  assert.equal(socket.all("ping").length, 1);
  await socket.say({ type: "pong", id: socket.last("ping").id });
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

test("the close of a connection that was given up does not touch the next", async () => {
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

test("a timer that a background tab held back for a minute only pings", async () => {
  const fake = setUp();
  fake.tasks.task("t1");
  const socket = await fake.welcomed();
  fake.clock.time += 85_000;
  await fake.clock.advance(0);
  assert.equal(fake.tasks.state.state, "connected");
  assert.equal(socket.all("ping").length, 1);
});

for (const name of ["online", "visibilitychange", "pageshow"]) {
  test(`${name} tries at once`, async () => {
    const fake = setUp({ random: () => 1 });
    fake.tasks.task("t1");
    await fake.welcomed();
    await fake.socket.cut(1012);
    fake.events.dispatchEvent(new Event(name));
    assert.equal(fake.sockets.length, 2);
    await fake.socket.welcome();
    assert.equal(fake.socket.all("subscribe").length, 1);
    await fake.clock.advance(15_000);
    assert.equal(fake.sockets.length, 2);
  });

  test(`${name} asks a connection whether it still lives`, async () => {
    const fake = setUp();
    fake.tasks.task("t1");
    const socket = await fake.welcomed();
    fake.events.dispatchEvent(new Event(name));
    fake.events.dispatchEvent(new Event(name));
    assert.equal(socket.all("ping").length, 1);
    await fake.clock.advance(10_000);
    assert.equal(socket.isClosed, true);
  });
}

test("waking does not connect a client that is closed", async () => {
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

test("with nothing left to follow it does not come back", async () => {
  const fake = setUp();
  const handle = fake.tasks.task("t1");
  await fake.welcomed();
  handle.close();
  await fake.socket.cut(4000);
  await fake.clock.advance(60_000);
  assert.equal(fake.sockets.length, 1);
  assert.equal(fake.tasks.state.state, "disconnected");
});

test("what is no frame of the contract is ignored", async () => {
  const fake = setUp();
  const handle = fake.tasks.task("t1");
  const socket = await fake.welcomed();
  for (const data of ["", "{", "[]", "null", "7", '{"type":7}', new ArrayBuffer(4)]) {
    socket.onmessage?.({ data });
  }
  await socket.say({ type: "confetti", id: 1, topic: "task:t1" });
  await socket.subscribed({ offset: 1, snapshot: [status(1, "PENDING", { later: true })] });
  assert.equal(handle.status?.state, "PENDING");
});

test("frames keep to the pace that the server allows", async () => {
  const fake = setUp();
  for (let i = 0; i < 128; i += 1) fake.tasks.task(`t${i}`);
  const socket = await fake.welcomed();
  assert.ok(socket.said.length <= 50, `${socket.said.length} at once`);
  const { length } = socket.said;
  await fake.clock.advance(1000);
  assert.ok(socket.said.length - length <= 10);
  await fake.clock.advance(11_000);
  assert.equal(new Set(socket.all("subscribe").map(({ topic }) => topic)).size, 128);
});

test("frames that were waiting for their turn are gone with the connection", async () => {
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
