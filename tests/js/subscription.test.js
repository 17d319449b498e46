import assert from "node:assert/strict";
import { test } from "node:test";

import { Feed } from "../../static/realtime/src/feed.mjs";
import { collect, reported, setUp, settled, status, versions } from "./fake.js";

/** A client with one task that is at version 4, offset 4. */
async function running() {
  const fake = setUp();
  const handle = fake.tasks.task("t1");
  const seen = collect((handler) => handle.onStatus(handler));
  const socket = await fake.welcomed();
  await socket.subscribed({ offset: 4, snapshot: [status(4)] });
  return { fake, handle, seen, socket };
}

test("the snapshot and then each event is called back", async () => {
  const { handle, seen, socket } = await running();
  await socket.event(5, status(5));
  await socket.event(6, status(6, "SUCCESS", { result: { rows: 3 } }));
  assert.deepEqual(versions(seen), [4, 5, 6]);
  assert.deepEqual(handle.status?.result, { rows: 3 });
});

test("the first subscription names no position and no token", async () => {
  const { socket } = await running();
  assert.deepEqual(Object.keys(socket.last("subscribe")).sort(), ["id", "topic", "type"]);
});

test("a reconnection resumes from the last position", async () => {
  const { fake, socket } = await running();
  await socket.event(5, status(5));
  await socket.cut(1006);
  const again = await fake.back();
  assert.deepEqual(again.last("subscribe").since, { epoch: "k3x9", offset: 5 });
});

test("recovered events are called back in order", async () => {
  const { fake, seen, socket } = await running();
  await socket.cut(1006);
  const again = await fake.back();
  await again.subscribed({
    offset: 6,
    events: [
      { offset: 5, status: status(5, "RETRY") },
      { offset: 6, status: status(6, "STARTED") },
    ],
  });
  await again.event(7, status(7));
  assert.deepEqual(versions(seen), [4, 5, 6, 7]);
});

test("a recovery without events calls nothing back", async () => {
  const { fake, seen, socket } = await running();
  await socket.cut(1006);
  const again = await fake.back();
  await again.subscribed({ offset: 4, events: [] });
  await again.event(5, status(5));
  assert.deepEqual(versions(seen), [4, 5]);
});

test("after an incomplete recovery the client requests a snapshot", async () => {
  const { fake, seen, socket } = await running();
  await socket.cut(1006);
  const again = await fake.back();
  await again.subscribed({ offset: 7, events: [{ offset: 7, status: status(7) }] });
  assert.deepEqual(versions(seen), [4]);
  assert.equal(again.all("subscribe").length, 2);
  assert.equal(again.last("subscribe").since, undefined);
  await again.subscribed({ offset: 7, snapshot: [status(7)] });
  assert.deepEqual(versions(seen), [4, 7]);
});

test("after a recovery that ends too early the client requests a snapshot", async () => {
  const { fake, seen, socket } = await running();
  await socket.cut(1006);
  const again = await fake.back();
  await again.subscribed({ offset: 6, events: [{ offset: 5, status: status(5) }] });
  assert.equal(again.last("subscribe").since, undefined);
  await again.subscribed({ offset: 6, snapshot: [status(6)] });
  assert.deepEqual(versions(seen), [4, 5, 6]);
});

test("a snapshot after a reconnection calls back only new statuses", async () => {
  const { fake, seen, socket } = await running();
  await socket.cut(1006);
  let again = await fake.back();
  await again.subscribed({ offset: 4, snapshot: [status(4)] });
  await again.cut(1006);
  again = await fake.back();
  await again.subscribed({ offset: 9, snapshot: [status(9)] });
  assert.deepEqual(versions(seen), [4, 9]);
});

test("a gap requests the missing events, and keeps the order", async () => {
  const { seen, socket } = await running();
  await socket.event(7, status(7, "STARTED"));
  assert.deepEqual(versions(seen), [4]);
  assert.deepEqual(socket.last("subscribe").since, { epoch: "k3x9", offset: 4 });
  await socket.event(8, status(8));
  assert.equal(socket.all("subscribe").length, 2, "it requests once");
  await socket.subscribed({
    offset: 7,
    events: [5, 6, 7].map((offset) => ({ offset, status: status(offset) })),
  });
  assert.deepEqual(versions(seen), [4, 5, 6, 7, 8]);
});

test("an ending that arrives during a recovery is not lost", async () => {
  const { handle, socket } = await running();
  await socket.event(6, status(6));
  await socket.event(7, status(7, "FAILURE"));
  await socket.subscribed({
    offset: 5,
    events: [{ offset: 5, status: status(5) }],
  });
  assert.equal(handle.status?.state, "FAILURE");
});

test("events before the answer to a subscription wait for it", async () => {
  const fake = setUp();
  const handle = fake.tasks.task("t1");
  const seen = collect((handler) => handle.onStatus(handler));
  const socket = await fake.welcomed();
  for (const version of [3, 4, 5]) await socket.event(version, status(version));
  assert.deepEqual(seen, []);
  await socket.subscribed({ offset: 4, snapshot: [status(4)] });
  assert.deepEqual(versions(seen), [4, 5]);
});

test("the newest events wait up to a limit, and older ones are requested again", async () => {
  const fake = setUp();
  const handle = fake.tasks.task("t1");
  const socket = await fake.welcomed();
  for (let offset = 1; offset <= 1200; offset += 1) {
    socket.onmessage?.({
      data: JSON.stringify({
        type: "event", topic: "task:t1", epoch: "k3x9", offset, status: status(offset),
      }),
    });
  }
  await socket.subscribed({ offset: 1, snapshot: [status(1)] });
  assert.equal(handle.status?.version, 1);
  assert.deepEqual(socket.last("subscribe").since, { epoch: "k3x9", offset: 1 });
  await socket.subscribed({ offset: 1200, snapshot: [status(1200)] });
  assert.equal(handle.status?.version, 1200);
});

test("duplicate and late events are dropped", async () => {
  const { seen, socket } = await running();
  await socket.event(5, status(5));
  await socket.event(5, status(5));
  await socket.event(3, status(3));
  await socket.event(6, status(6));
  assert.deepEqual(versions(seen), [4, 5, 6]);
  assert.equal(socket.all("subscribe").length, 1);
});

test("merged events are no gap", async () => {
  const { seen, socket } = await running();
  await socket.event(8, status(8), { merged: 3 });
  await socket.event(9, status(9));
  assert.deepEqual(versions(seen), [4, 8, 9]);
  assert.equal(socket.all("subscribe").length, 1);
});

test("an event in order is accepted whatever its version", async () => {
  const { handle, seen, socket } = await running();
  await socket.event(5, status(3));
  await socket.event(6, status(5));
  assert.deepEqual(versions(seen), [4, 3, 5]);
  assert.equal(handle.status?.version, 5);
});

test("an event of a new epoch subscribes again, and versions begin again", async () => {
  const { seen, socket } = await running();
  await socket.event(1, status(1, "STARTED"), { epoch: "n0e2" });
  assert.deepEqual(socket.last("subscribe").since, { epoch: "k3x9", offset: 4 });
  await socket.subscribed({ epoch: "n0e2", offset: 1, snapshot: [status(1, "STARTED")] });
  await socket.event(2, status(2), { epoch: "n0e2" });
  assert.deepEqual(versions(seen), [4, 1, 2]);
});

test("a snapshot between events replaces the list", async () => {
  const { handle, seen, socket } = await running();
  await socket.deliver({
    type: "snapshot", topic: "task:t1", epoch: "n0e2", offset: 3, snapshot: [status(2)],
  });
  await socket.event(4, status(3), { epoch: "n0e2" });
  assert.deepEqual(versions(seen), [4, 2, 3]);
  assert.equal(handle.status?.version, 3);
  assert.equal(socket.all("subscribe").length, 1);
});

test("an ending is called back after the store went back, though its version was called back before", async () => {
  const { handle, seen, socket } = await running();
  await socket.event(5, status(5));
  await socket.deliver({
    type: "snapshot", topic: "task:t1", epoch: "n0e2", offset: 3, snapshot: [status(3)],
  });
  await socket.event(4, status(4, "FAILURE"), { epoch: "n0e2" });
  assert.deepEqual(versions(seen), [4, 5, 3, 4]);
  assert.equal((await handle.done()).version, 4);
  assert.equal(socket.all("subscribe").length, 1);
});

test("a client that reconnects to a store that went back accepts its snapshot", async () => {
  const { fake, handle, seen, socket } = await running();
  await socket.event(5, status(5));
  await socket.cut(1006);
  const again = await fake.back();
  await again.subscribed({ offset: 3, snapshot: [status(3)] });
  await again.event(4, status(4, "FAILURE"));
  assert.deepEqual(versions(seen), [4, 5, 3, 4]);
  assert.equal((await handle.done()).version, 4);
});

test("a lower version of the same epoch in a snapshot is not called back", async () => {
  const { handle, seen, socket } = await running();
  await socket.deliver({
    type: "snapshot", topic: "task:t1", epoch: "k3x9", offset: 4, snapshot: [status(3)],
  });
  assert.deepEqual(versions(seen), [4]);
  assert.equal(handle.status?.version, 4);
});

test("an ending that arrives again after the log was lost is called back once", async () => {
  const { handle, seen, socket } = await running();
  const ends = collect((handler) => handle.onEnd(handler));
  await settled();
  await socket.event(5, status(5, "FAILURE"));
  await socket.deliver({
    type: "snapshot", topic: "task:t1", epoch: "n0e2", offset: 0, snapshot: [],
  });
  assert.equal(handle.status?.state, "FAILURE");
  await socket.event(1, status(1, "FAILURE"), { epoch: "n0e2" });
  assert.deepEqual(versions(seen), [4, 5]);
  assert.deepEqual(versions(ends), [5]);
});

test("an ending that a new run or the true result corrects is called back again", async () => {
  const { handle, socket } = await running();
  const ends = collect((handler) => handle.onEnd(handler));
  await settled();
  await socket.event(5, status(5, "LOST"));
  await socket.event(6, status(6, "FAILURE", { run: 2 }));
  await socket.event(7, status(7, "SUCCESS", { run: 2 }));
  assert.deepEqual(ends.map(({ state }) => state), ["LOST", "FAILURE", "SUCCESS"]);
});

test("a task that had ended before is called back once", async () => {
  const fake = setUp();
  const handle = fake.tasks.task("t1");
  const ends = collect((handler) => handle.onEnd(handler));
  const done = handle.done();
  const socket = await fake.welcomed();
  await socket.subscribed({ offset: 6, snapshot: [status(6, "FAILURE")] });
  await socket.cut(1006);
  const again = await fake.back();
  await again.subscribed({ offset: 6, snapshot: [status(6, "FAILURE")] });
  assert.deepEqual(versions(ends), [6]);
  assert.equal((await done).state, "FAILURE");
});

test("a handler that is added late receives the current status, once", async () => {
  const { handle, socket } = await running();
  await socket.event(5, status(5, "SUCCESS"));
  const late = collect((handler) => handle.onStatus(handler));
  const ends = collect((handler) => handle.onEnd(handler));
  assert.deepEqual(late, [], "not before the code that adds it returns");
  await settled();
  assert.deepEqual(versions(late), [5]);
  assert.deepEqual(versions(ends), [5]);
});

test("a task that has succeeded is unsubscribed, and not requested again", async () => {
  const { fake, handle, socket } = await running();
  fake.tasks.task("t2");
  await settled();
  await socket.event(5, status(5, "SUCCESS"));
  assert.equal(socket.last("unsubscribe").topic, "task:t1");
  await socket.cut(1006);
  const again = await fake.back();
  assert.deepEqual(again.all("subscribe").map(({ topic }) => topic), ["task:t2"]);
  handle.close();
  assert.equal(again.all("unsubscribe").length, 0);
});

test("with only succeeded tasks the client does not reconnect, and reports no error", async () => {
  const { fake, handle, socket } = await running();
  const errors = collect((handler) => handle.onError(handler));
  await socket.event(5, status(5, "SUCCESS"));
  await socket.cut(4000);
  await fake.clock.advance(60_000);
  assert.equal(fake.sockets.length, 1);
  assert.deepEqual(errors, []);
  assert.equal((await handle.done()).version, 5);
});

test("a task that failed stays subscribed, since it may run again", async () => {
  const { handle, seen, socket } = await running();
  await socket.event(5, status(5, "LOST"));
  assert.equal(socket.all("unsubscribe").length, 0);
  await socket.event(6, status(6, "STARTED", { run: 2 }));
  assert.deepEqual(versions(seen), [4, 5, 6]);
  assert.equal(handle.status?.state, "STARTED");
});

test("two handles of one topic share a subscription, and each receives everything", async () => {
  const { fake, handle, seen, socket } = await running();
  const other = fake.tasks.task("t1");
  const late = collect((handler) => other.onStatus(handler));
  await settled();
  await socket.event(5, status(5));
  assert.deepEqual(versions(late), [4, 5]);
  assert.deepEqual(versions(seen), [4, 5]);
  assert.equal(socket.all("subscribe").length, 1);
  handle.close();
  await settled();
  assert.equal(socket.all("unsubscribe").length, 0);
  await socket.event(6, status(6));
  assert.deepEqual(versions(late), [4, 5, 6]);
  assert.deepEqual(versions(seen), [4, 5]);
  other.close();
  other.close();
  assert.deepEqual(socket.all("unsubscribe").map(({ topic }) => topic), ["task:t1"]);
});

test("a topic that is closed and opened again is subscribed to again", async () => {
  const { fake, handle, socket } = await running();
  handle.close();
  const again = fake.tasks.task("t1");
  await settled();
  assert.deepEqual(
    socket.sent.map(({ type }) => type),
    ["subscribe", "unsubscribe", "subscribe"],
  );
  assert.equal(again.status, null);
});

test("a handle that is closed before the answer does not receive it", async () => {
  const fake = setUp();
  const handle = fake.tasks.task("t1");
  const errors = collect((handler) => handle.onError(handler));
  const socket = await fake.welcomed();
  const { id } = socket.last("subscribe");
  handle.close();
  const consoleErrors = await reported(() =>
    socket.deliver({ type: "error", id, code: "not_found", message: "no such task" }),
  );
  assert.deepEqual([...errors, ...consoleErrors], []);
});

test("a token is sent with the subscription", async () => {
  const fake = setUp();
  fake.tasks.task("t1", { token: "signed" });
  const socket = await fake.welcomed();
  assert.equal(socket.last("subscribe").token, "signed");
});

test("a token function is called once per token, not for each subscription", async () => {
  const fake = setUp();
  let calls = 0;
  fake.tasks.task("t1", { token: async () => `token-${++calls}` });
  let socket = await fake.welcomed();
  assert.equal(socket.last("subscribe").token, "token-1");
  await socket.subscribed({ offset: 4, snapshot: [status(4)], expires_in: 900 });
  await socket.event(9, status(9));
  assert.equal(socket.last("subscribe").token, "token-1");
  await socket.cut(1006);
  socket = await fake.back();
  assert.equal(socket.last("subscribe").token, "token-1");
});

test("a token that comes after the connection was lost is used on the next", async () => {
  const fake = setUp();
  const waiting = /** @type {((token: string) => void)[]} */ ([]);
  fake.tasks.task("t1", { token: () => new Promise((resolve) => waiting.push(resolve)) });
  const socket = await fake.welcomed();
  await socket.cut(1006);
  const again = await fake.back();
  assert.equal(waiting.length, 1);
  waiting[0]?.("signed");
  await settled();
  assert.deepEqual(again.all("subscribe").map(({ token }) => token), ["signed"]);
});

test("a token function that fails is reported and called again", async () => {
  const fake = setUp();
  let calls = 0;
  fake.tasks.task("t1", {
    token: () => {
      calls += 1;
      if (calls === 1) throw new Error("offline");
      return "signed";
    },
  });
  const errors = await reported(async () => {
    await fake.welcomed();
  });
  assert.match(String(errors[0]), /offline/);
  assert.equal(fake.socket.all("subscribe").length, 0);
  await fake.clock.advance(500);
  assert.equal(fake.socket.last("subscribe").token, "signed");
});

for (const code of ["not_found", "unauthorized", "bad_request", "limit"]) {
  test(`the refusal ${code} is an error of the handle, and final`, async () => {
    const fake = setUp();
    const handle = fake.tasks.task("t1");
    const errors = collect((handler) => handle.onError(handler));
    const done = handle.done();
    done.catch(() => {});
    const socket = await fake.welcomed();
    const { id } = socket.last("subscribe");
    await socket.deliver({ type: "error", id, code, message: "no" });
    await assert.rejects(done, { name: "RealtimeError", code, message: "no" });
    assert.deepEqual(errors.map((error) => error.code), [code]);
    await socket.cut(1006);
    await fake.clock.advance(60_000);
    assert.equal(fake.sockets.length, 1);
  });
}

test("a refusal does not affect other subscriptions", async () => {
  const fake = setUp();
  const handle = fake.tasks.task("t1");
  fake.tasks.task("t2");
  const socket = await fake.welcomed();
  const [, second] = socket.all("subscribe");
  await socket.deliver({ type: "error", id: second.id, code: "limit", message: "128 subscriptions" });
  await socket.subscribed({ offset: 4, snapshot: [status(4)] }, "task:t1");
  assert.equal(handle.status?.version, 4);
});

test("after an internal error the subscription is tried again with growing waits", async () => {
  const fake = setUp();
  const handle = fake.tasks.task("t1");
  const errors = collect((handler) => handle.onError(handler));
  const socket = await fake.welcomed();
  const waits = [];
  for (let i = 0; i < 4; i += 1) {
    const { id } = socket.last("subscribe");
    await socket.deliver({ type: "error", id, code: "internal", message: "ref 7" });
    waits.push(fake.clock.next);
    await fake.clock.advance(fake.clock.next);
  }
  assert.deepEqual(waits, [250, 500, 1000, 2000]);
  assert.deepEqual(errors, []);
  await socket.subscribed({ offset: 4, snapshot: [status(4)] });
  assert.equal(handle.status?.version, 4);
});

test("a subscription that the server withdraws is an error of the handle", async () => {
  const { fake, handle, socket } = await running();
  const errors = collect((handler) => handle.onError(handler));
  await settled();
  await socket.deliver({ type: "unsubscribed", topic: "task:t1", code: "forbidden", message: "no more" });
  assert.deepEqual(errors.map(({ code, message }) => [code, message]), [["forbidden", "no more"]]);
  await socket.cut(1006);
  await fake.clock.advance(60_000);
  assert.equal(fake.sockets.length, 1);
  const late = collect((handler) => handle.onError(handler));
  await settled();
  assert.equal(late.length, 1);
});

test("an error without the id of a request is reported", async () => {
  const { socket } = await running();
  const errors = await reported(() =>
    socket.deliver({ type: "error", code: "bad_request", message: "not JSON" }),
  );
  assert.match(String(errors[0]), /not JSON/);
});

test("events of other topics are ignored", async () => {
  const { seen, socket } = await running();
  await socket.event(5, status(50), { topic: "task:t2" });
  await socket.event(5, status(5));
  assert.deepEqual(versions(seen), [4, 5]);
});

test("a topic keeps the newest status of each task, and a snapshot replaces them", async () => {
  const fake = setUp();
  const mine = fake.tasks.topic("user:me");
  const order = /** @type {string[]} */ ([]);
  mine.onSnapshot((tasks) => order.push(`snapshot ${[...tasks.keys()]}`));
  mine.onStatus(({ task_id, version }) => order.push(`${task_id} ${version}`));
  const topic = "user:me";
  const socket = await fake.welcomed();
  const a = { task_id: "a" };
  const b = { task_id: "b" };
  await socket.subscribed({ offset: 2, snapshot: [status(1, "STARTED", a), status(1, "STARTED", b)] });
  await socket.event(3, status(2, "PROGRESS", b), { topic });
  await socket.deliver({
    type: "snapshot", topic, epoch: "k3x9", offset: 9,
    snapshot: [status(2, "PROGRESS", b), status(1, "PENDING", { task_id: "c" })],
  });
  assert.deepEqual(order, ["snapshot a,b", "a 1", "b 1", "b 2", "snapshot b,c", "c 1"]);
  assert.deepEqual([...mine.tasks.values()].map(({ task_id, version }) => [task_id, version]), [
    ["b", 2],
    ["c", 1],
  ]);
  const late = collect((handler) => mine.onSnapshot(handler));
  await settled();
  assert.equal(late[0], mine.tasks);
});

test("a topic keeps as many tasks as the server, and removes the one whose change is oldest", async () => {
  const fake = setUp();
  const mine = fake.tasks.topic("user:me");
  const topic = "user:me";
  const socket = await fake.welcomed();
  const snapshot = Array.from({ length: 1000 }, (_, i) => status(1, "STARTED", { task_id: `t${i}` }));
  await socket.subscribed({ offset: 1000, snapshot });
  await socket.event(1001, status(2, "PROGRESS", { task_id: "t0" }), { topic });
  await socket.event(1002, status(1, "PENDING", { task_id: "new" }), { topic });
  assert.equal(mine.tasks.size, 1000);
  assert.equal(mine.tasks.has("t0"), true);
  assert.equal(mine.tasks.has("t1"), false);
  assert.equal(mine.tasks.has("new"), true);
});

/** A page with a topic of two tasks, of which one has failed. */
async function subscribedTopic() {
  const fake = setUp();
  const mine = fake.tasks.topic("user:me");
  const calls = /** @type {string[]} */ ([]);
  mine.onSnapshot((tasks) => calls.push(`snapshot: ${[...tasks.keys()]}`));
  mine.onStatus(({ task_id, state }) => calls.push(`${task_id} ${state}`));
  const socket = await fake.welcomed();
  const snapshot = [status(1, "STARTED", { task_id: "a" }), status(1, "STARTED", { task_id: "b" })];
  await socket.subscribed({ offset: 2, snapshot });
  await socket.event(3, status(2, "FAILURE", { task_id: "a" }), { topic: "user:me" });
  calls.length = 0;
  return { mine, socket, calls };
}

test("an ending of a topic that arrives again after the log was lost is called back once, and in the snapshot", async () => {
  const { mine, socket, calls } = await subscribedTopic();
  const [topic, epoch] = ["user:me", "n0e2"];
  await socket.deliver({ type: "snapshot", topic, epoch, offset: 0, snapshot: [] });
  await socket.event(1, status(1, "FAILURE", { task_id: "a" }), { topic, epoch });
  await socket.event(2, status(2, "FAILURE", { task_id: "a" }), { topic, epoch });
  assert.deepEqual(calls, ["snapshot: ", "snapshot: a"]);
  assert.equal(mine.tasks.get("a")?.version, 2);
});

test("a task that runs after the log was lost is called back, and ends again", async () => {
  const { socket, calls } = await subscribedTopic();
  const [topic, epoch] = ["user:me", "n0e2"];
  await socket.deliver({ type: "snapshot", topic, epoch, offset: 0, snapshot: [] });
  await socket.event(1, status(1, "STARTED", { task_id: "a" }), { topic, epoch });
  await socket.event(2, status(2, "FAILURE", { task_id: "a" }), { topic, epoch });
  await socket.event(3, status(1, "STARTED", { task_id: "b" }), { topic, epoch });
  assert.deepEqual(calls, ["snapshot: ", "a STARTED", "a FAILURE", "b STARTED"]);
});

test("a version that was called back before the log went back is called back if its state differs", async () => {
  const { socket, calls } = await subscribedTopic();
  const [topic, epoch] = ["user:me", "k3x9"];
  await socket.deliver({ type: "snapshot", topic, epoch, offset: 0, snapshot: [] });
  await socket.event(1, status(1, "SUCCESS", { task_id: "b" }), { topic });
  assert.deepEqual(calls, ["snapshot: ", "b SUCCESS"]);
});

test("a task beyond a topic's limit is not called back again when the server still has it", () => {
  const feed = new Feed("user:me");
  const snapshot = Array.from({ length: 1000 }, (_, i) =>
    status(1, i === 0 ? "FAILURE" : "PENDING", { task_id: `t${i}` }),
  );
  feed.subscribed({ epoch: "k3x9", offset: 1000, recovered: false, snapshot });
  for (const [i, task_id] of ["x", "y", "z"].entries()) {
    feed.event({ epoch: "k3x9", offset: 1001 + i, status: status(1, "PENDING", { task_id }) });
  }
  assert.deepEqual(["t0", "t1", "t2"].map((id) => feed.tasks.has(id)), [false, false, false]);
  const moved = status(2, "STARTED", { task_id: "t2" });
  const change = feed.snapshot({
    epoch: "k3x9", offset: 1200, snapshot: snapshot.map((one, i) => (i === 2 ? moved : one)),
  });
  assert.deepEqual(change.statuses, [moved]);
  assert.deepEqual(["t0", "t1", "t2"].map((id) => feed.tasks.has(id)), [true, true, true]);
});

test("a feed keeps the endings of no more removed tasks than a topic keeps tasks", () => {
  const feed = new Feed("user:me");
  feed.subscribed({ epoch: "k3x9", offset: 0, recovered: false, snapshot: [] });
  let offset = 0;
  /** @type {(i: number, version: number) => number} */
  const end = (i, version) => {
    const ending = status(version, "FAILURE", { task_id: `t${i}` });
    return feed.event({ epoch: "k3x9", offset: ++offset, status: ending }).statuses.length;
  };
  for (let i = 0; i <= 2000; i += 1) assert.equal(end(i, 1), 1);
  assert.equal(end(1, 2), 0);
  assert.equal(end(0, 2), 1);
});

test("after a reconnection events wait for the answer as well", async () => {
  const { fake, seen, socket } = await running();
  await socket.cut(1006);
  const again = await fake.back();
  await again.event(6, status(6));
  assert.deepEqual(versions(seen), [4]);
  assert.equal(again.all("subscribe").length, 1);
  await again.subscribed({ offset: 5, events: [{ offset: 5, status: status(5) }] });
  assert.deepEqual(versions(seen), [4, 5, 6]);
});

test("events that wait are dropped with the connection", async () => {
  const { fake, seen, socket } = await running();
  await socket.event(7, status(7));
  await socket.cut(1006);
  const again = await fake.back();
  await again.subscribed({ offset: 4, events: [] });
  await again.event(5, status(5));
  assert.deepEqual(versions(seen), [4, 5]);
  assert.equal(again.all("subscribe").length, 1);
});

test("events of a lost log do not cause endless requests", async () => {
  const { seen, socket } = await running();
  await socket.event(7, status(7));
  for (let i = 0; i < 5; i += 1) {
    await socket.subscribed({ epoch: "n0e2", offset: 1, snapshot: [status(1)] });
  }
  assert.ok(socket.all("subscribe").length <= 3);
  await socket.event(2, status(2), { epoch: "n0e2" });
  assert.deepEqual(versions(seen), [4, 1, 2]);
});

test("the next connection cancels a retry that waits", async () => {
  const fake = setUp({ random: () => 1 });
  fake.tasks.task("t1");
  const socket = await fake.welcomed();
  const { id } = socket.last("subscribe");
  await socket.deliver({ type: "error", id, code: "internal", message: "ref 7" });
  await socket.cut(1006);
  fake.events.dispatchEvent(new Event("pageshow"));
  await fake.socket.welcome();
  await fake.clock.advance(5_000);
  assert.equal(fake.socket.all("subscribe").length, 1);
});

test("after an answer the waits for internal errors begin again", async () => {
  const { socket, fake } = await running();
  for (let i = 0; i < 3; i += 1) {
    await socket.event(9, status(9));
    const { id } = socket.last("subscribe");
    await socket.deliver({ type: "error", id, code: "internal", message: "ref 7" });
    assert.equal(fake.clock.next, 250);
    await fake.clock.advance(250);
    await socket.subscribed({ offset: 4, events: [] });
  }
});

test("a handle that is closed at once sends nothing", async () => {
  const fake = setUp();
  fake.tasks.task("t1").close();
  await settled();
  assert.equal(fake.sockets.length, 0);
});

test("after a limit with retry_after the client waits, and subscribes again", async () => {
  const fake = setUp();
  const handle = fake.tasks.task("t1");
  const other = fake.tasks.task("t2");
  const errors = collect((handler) => handle.onError(handler));
  const socket = await fake.welcomed();
  const [first] = socket.all("subscribe");
  await socket.deliver({ type: "error", id: first.id, code: "limit", message: "slowly", retry_after: 12 });
  await socket.subscribed({ offset: 1, snapshot: [status(1, "STARTED", { task_id: "t2" })] }, "task:t2");
  assert.equal(other.status?.state, "STARTED");
  await fake.clock.advance(11_999);
  assert.equal(socket.all("subscribe").length, 2);
  await fake.clock.advance(1_001);
  assert.equal(socket.last("subscribe").topic, "task:t1");
  assert.equal(socket.all("subscribe").length, 3);
  assert.deepEqual(errors, []);
});

test("a topic of any text is subscribed to as it is", async () => {
  const fake = setUp();
  const id = "a#b:c/d é\u00a0%2F..";
  const handle = fake.tasks.task(id);
  const socket = await fake.welcomed();
  assert.equal(socket.last("subscribe").topic, `task:${id}`);
  await socket.subscribed({ offset: 1, snapshot: [status(1, "SUCCESS", { task_id: id })] });
  assert.equal((await handle.done()).task_id, id);
});

test("keys, states and frames of later versions are accepted", async () => {
  const { handle, socket } = await running();
  await socket.deliver({ type: "flow", topic: "task:t1", epoch: "k3x9", offset: 5, flow: {} });
  await socket.event(5, status(5, "TRAINING", { later_key: { a: 1 } }), { flow: null });
  assert.equal(handle.status?.state, "TRAINING");
  assert.deepEqual(/** @type {any} */ (handle.status).later_key, { a: 1 });
});

test("a task that is published again after its success is subscribed to again", async () => {
  const { fake, handle, socket } = await running();
  await socket.event(5, status(5, "SUCCESS"));
  const published = fake.tasks.task("t1");
  await settled();
  assert.equal(socket.last("subscribe").since, undefined);
  await socket.subscribed({
    epoch: "n3xt", offset: 1, snapshot: [status(6, "PENDING", { run: 2 })],
  });
  await socket.event(2, status(7, "SUCCESS", { run: 2, result: "new" }), { epoch: "n3xt" });
  assert.equal((await published.done()).result, "new");
  assert.equal((await handle.done()).version, 5);
});

test("a new life of a failed task is called back from its start to its ending", async () => {
  const { handle, socket } = await running();
  const seen = collect((handler) => handle.onStatus(({ state, run }) => handler(`${state} ${run}`)));
  await settled();
  await socket.event(5, status(5, "FAILURE"));
  await socket.event(1, status(6, "PENDING", { run: 2 }), { epoch: "n3xt" });
  await socket.subscribed({ epoch: "n3xt", offset: 1, snapshot: [status(6, "PENDING", { run: 2 })] });
  await socket.event(2, status(7, "FAILURE", { run: 2 }), { epoch: "n3xt" });
  assert.deepEqual(seen, ["PROGRESS 1", "FAILURE 1", "PENDING 2", "FAILURE 2"]);
});

test("a task that is published again after its record expired is called back again in a list", async () => {
  const fake = setUp();
  const mine = fake.tasks.topic("user:me");
  const seen = collect((handler) => mine.onStatus(({ state, version }) => handler(`${state} ${version}`)));
  const socket = await fake.welcomed();
  await socket.subscribed({ offset: 7, snapshot: [status(7, "SUCCESS")] });
  const published_at = "2026-11-24T08:00:00.000Z";
  await socket.event(8, status(1, "PENDING", { published_at }), { topic: "user:me" });
  await socket.cut(1006);
  const again = await fake.back();
  await again.subscribed({ offset: 10, snapshot: [status(3, "SUCCESS", { published_at })] });
  assert.deepEqual(seen, ["SUCCESS 7", "PENDING 1", "SUCCESS 3"]);
});

test("a task that was published again while the page was away is called back again in a list", async () => {
  const fake = setUp();
  const mine = fake.tasks.topic("user:me");
  const seen = collect((handler) => mine.onStatus(({ state, version }) => handler(`${state} ${version}`)));
  const socket = await fake.welcomed();
  await socket.subscribed({ offset: 7, snapshot: [status(7, "SUCCESS")] });
  await socket.cut(1006);
  const again = await fake.back();
  const published_at = "2026-11-24T08:00:00.000Z";
  await again.subscribed({ offset: 10, snapshot: [status(3, "SUCCESS", { published_at })] });
  assert.deepEqual(seen, ["SUCCESS 7", "SUCCESS 3"]);
});

test("a task that had not ended and is no longer known is gone", async () => {
  const { handle, socket } = await running();
  let gone = 0;
  handle.onGone(() => (gone += 1));
  await settled();
  await socket.deliver({ type: "snapshot", topic: "task:t1", epoch: "n0e2", offset: 0, snapshot: [] });
  assert.equal(gone, 1);
  assert.ok(handle.status === null);
  await socket.event(1, status(1, "STARTED"), { epoch: "n0e2" });
  assert.equal((await handle[Symbol.asyncIterator]().next()).value?.state, "STARTED");
});

/** @param {number} i @param {object} [more] */
function listed(i, more = {}) {
  const published_at = `2026-11-22T08:00:${String(59 - i).padStart(2, "0")}.000Z`;
  return status(4, "STARTED", { task_id: `t${i}`, published_at, ...more });
}

/** A list of 12 tasks, of which a page of 4 is known. */
async function paged() {
  const fake = setUp();
  const mine = fake.tasks.topic("user:me", { limit: 4 });
  const seen = collect((handler) => mine.onStatus(({ task_id, version }) => handler(`${task_id} ${version}`)));
  const socket = await fake.welcomed();
  assert.equal(socket.last("subscribe").limit, 4);
  await socket.subscribed({
    offset: 9, total: 12, next: "p2", snapshot: [0, 1, 2, 3].map((i) => listed(i)),
  });
  return { fake, mine, seen, socket };
}

test("further pages are loaded on request", async () => {
  const { mine, seen, socket } = await paged();
  assert.deepEqual([mine.total, mine.tasks.size, mine.hasMore], [12, 4, true]);
  const more = mine.more(8);
  const { id, ...page } = socket.last("page");
  assert.deepEqual(page, { type: "page", topic: "user:me", after: "p2", limit: 8 });
  await socket.deliver({
    type: "page", id, topic: "user:me", next: null,
    snapshot: Array.from({ length: 8 }, (_, i) => listed(i + 4)),
  });
  await more;
  assert.deepEqual([mine.total, mine.tasks.size, mine.hasMore], [12, 12, false]);
  assert.equal(seen.length, 12);
  await mine.more();
  assert.equal(socket.all("page").length, 1);
});

test("events that are older than a page do not replace its statuses", async () => {
  const { mine, seen, socket } = await paged();
  mine.more();
  const { id } = socket.last("page");
  const newest = listed(4, { version: 6 });
  await socket.deliver({ type: "page", id, topic: "user:me", next: null, snapshot: [newest] });
  await socket.event(10, listed(4, { version: 5 }), { topic: "user:me" });
  await socket.event(11, listed(4, { version: 6 }), { topic: "user:me" });
  await socket.event(12, listed(4, { version: 7 }), { topic: "user:me" });
  assert.deepEqual(seen.slice(4), ["t4 6", "t4 7"]);
});

test("a refused page rejects, and one whose connection was lost is requested again", async () => {
  const { fake, mine, socket } = await paged();
  const refused = assert.rejects(mine.more(), { code: "bad_request" });
  await socket.deliver({ type: "error", id: socket.last("page").id, code: "bad_request", message: "no" });
  await refused;
  const more = mine.more();
  await socket.cut(1006);
  const again = await fake.back();
  assert.equal(again.all("page").length, 0);
  await again.subscribed({ offset: 9, events: [] });
  const { id } = again.last("page");
  await again.deliver({ type: "page", id, topic: "user:me", next: "p3", snapshot: [listed(4)] });
  await more;
  assert.equal(mine.hasMore, true);
});

test("a task that a snapshot lacks is removed only if its place is before the end of the snapshot", async () => {
  const { mine, socket } = await paged();
  mine.more();
  const { id } = socket.last("page");
  await socket.deliver({ type: "page", id, topic: "user:me", next: "p3", snapshot: [listed(4), listed(5)] });
  await socket.deliver({
    type: "snapshot", topic: "user:me", epoch: "k3x9", offset: 30, total: 11, next: "p2",
    snapshot: [0, 2, 3].map((i) => listed(i)),
  });
  assert.deepEqual([...mine.tasks.keys()].sort(), ["t0", "t2", "t3", "t4", "t5"]);
});
