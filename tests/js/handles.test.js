import assert from "node:assert/strict";
import { test } from "node:test";

import { collect, reported, setUp, settled, status, versions } from "./fake.js";

/** A client with one task that was just published. */
async function published() {
  const fake = setUp();
  const handle = fake.tasks.task("t1");
  const socket = await fake.welcomed();
  await socket.subscribed({ offset: 1, snapshot: [status(1, "PENDING")] });
  return { fake, handle, socket };
}

/**
 * Reads an iterator to its end.
 * @param {AsyncIterable<{version: number}>} handle
 */
async function read(handle) {
  const seen = [];
  for await (const { version } of handle) seen.push(version);
  return seen;
}

test("progress is called back with its status, and only if there is progress", async () => {
  const { handle, socket } = await published();
  /** @type {any[]} */
  const calls = [];
  handle.onProgress((progress, { version }) => calls.push([progress.current, version]));
  await socket.event(2, status(2, "STARTED"));
  await socket.event(3, status(3));
  await socket.event(4, status(4));
  assert.deepEqual(calls, [[3, 3], [4, 4]]);
});

test("a handler receives the progress from before it was added", async () => {
  const { handle, socket } = await published();
  await socket.event(2, status(2));
  const calls = collect((handler) => handle.onProgress(handler));
  await settled();
  assert.deepEqual(calls, [{ current: 2, total: 100, message: null }]);
});

test("an undo removes its own handler, and no other", async () => {
  const { handle, socket } = await published();
  /** @type {number[]} */
  const first = [];
  const undo = handle.onStatus(({ version }) => first.push(version));
  const other = collect((handler) => handle.onStatus(handler));
  await settled();
  undo();
  undo();
  await socket.event(2, status(2));
  assert.deepEqual(first, [1]);
  assert.deepEqual(versions(other), [1, 2]);
});

test("a handler may remove itself, and a later one, while it is called", async () => {
  const { handle, socket } = await published();
  await settled();
  /** @type {number[]} */
  const calls = [];
  const undo = handle.onStatus(({ version }) => {
    calls.push(version);
    undo();
    undoLater();
  });
  const undoLater = handle.onStatus(() => calls.push(-1));
  await settled();
  await socket.event(2, status(2));
  assert.deepEqual(calls, [1]);
});

test("a status that arrives before the first call is called back once", async () => {
  const { handle, socket } = await published();
  const seen = collect((handler) => handle.onStatus(handler));
  await socket.event(2, status(2));
  assert.deepEqual(versions(seen), [2]);
});

test("closing a handle in one of its handlers removes the others", async () => {
  const { handle, socket } = await published();
  await settled();
  handle.onStatus(({ version }) => version === 2 && handle.close());
  const seen = collect((handler) => handle.onStatus(handler));
  await settled();
  await socket.event(2, status(2));
  assert.deepEqual(versions(seen), [1]);
});

test("closing a handle that was refused keeps the reason", async () => {
  const { handle, socket } = await published();
  await socket.deliver({ type: "unsubscribed", topic: "task:t1", code: "forbidden", message: "no" });
  handle.close();
  await assert.rejects(handle.done(), { code: "forbidden" });
});

test("an undo before the first call means no call", async () => {
  const { handle } = await published();
  const seen = collect((handler) => handle.onStatus(handler)());
  await settled();
  assert.deepEqual(seen, []);
});

test("an error of a handler is reported, and the others are called", async () => {
  const { handle, socket } = await published();
  await settled();
  handle.onStatus(() => {
    throw new Error("the page's own mistake");
  });
  const other = collect((handler) => handle.onStatus(handler));
  const errors = await reported(async () => {
    await settled();
    await socket.event(2, status(2));
    await socket.event(3, status(3));
  });
  assert.deepEqual(versions(other), [1, 2, 3]);
  assert.equal(errors.length, 3);
  assert.match(String(errors[0]), /own mistake/);
});

test("a broken frame is reported and does not stop the next", async () => {
  const { handle, socket } = await published();
  const errors = await reported(() => socket.event(2, /** @type {any} */ (null)));
  assert.equal(errors.length, 1);
  await socket.event(3, status(3));
  assert.equal(handle.status?.version, 3);
});

test("the promise of the ending is fulfilled by a success", async () => {
  const { handle, socket } = await published();
  const done = handle.done();
  await socket.event(2, status(2, "SUCCESS", { result: 42 }));
  assert.equal((await done).result, 42);
  assert.equal((await handle.done()).result, 42);
});

test("the promise of the ending is fulfilled by a failure too", async () => {
  const { handle, socket } = await published();
  const done = handle.done();
  await socket.event(2, status(2, "FAILURE", { error: { type: "ValueError", message: "no" } }));
  assert.deepEqual((await done).error, { type: "ValueError", message: "no" });
});

test("the promise of the ending is fulfilled after a reconnection", async () => {
  const { fake, handle, socket } = await published();
  const done = handle.done();
  await socket.cut(1006);
  const again = await fake.back();
  await again.subscribed({ offset: 2, events: [{ offset: 2, status: status(2, "REVOKED") }] });
  assert.equal((await done).state, "REVOKED");
});

test("closing a handle rejects the promise of its ending, and calls no error handler", async () => {
  const { handle } = await published();
  const errors = collect((handler) => handle.onError(handler));
  const done = handle.done();
  handle.close();
  await assert.rejects(done, { code: "closed" });
  await assert.rejects(handle.done(), { code: "closed" });
  assert.deepEqual(errors, []);
});

test("closing the client rejects pending promises", async () => {
  const { fake, handle } = await published();
  const done = handle.done();
  fake.tasks.close();
  await assert.rejects(done, { code: "closed" });
  assert.equal(fake.socket.closeCode, 1000);
  assert.equal(fake.clock.pending, 0);
});

test("an iterator yields each status and ends with the task", async () => {
  const { handle, socket } = await published();
  const seen = read(handle);
  await settled();
  await socket.event(2, status(2, "STARTED"));
  await socket.event(3, status(3));
  await socket.event(4, status(4, "SUCCESS"));
  assert.deepEqual(await seen, [1, 2, 3, 4]);
  assert.deepEqual(await read(handle), [4]);
});

test("an iterator that is not read keeps no more than one status of each state", async () => {
  const { handle, socket } = await published();
  const iterator = handle[Symbol.asyncIterator]();
  assert.equal((await iterator.next()).value?.version, 1);
  for (let version = 2; version < 500; version += 1) await socket.event(version, status(version));
  await socket.event(500, status(500, "SUCCESS"));
  assert.equal((await iterator.next()).value?.version, 499);
  assert.equal((await iterator.next()).value?.version, 500);
  assert.equal((await iterator.next()).done, true);
});

test("an iterator that ends early receives nothing more", async () => {
  const { handle, socket } = await published();
  for await (const { version } of handle) {
    assert.equal(version, 1);
    break;
  }
  await socket.event(2, status(2));
  assert.equal(handle.status?.version, 2);
});

test("an iterator throws the server's refusal", async () => {
  const fake = setUp();
  const seen = read(fake.tasks.task("t1"));
  seen.catch(() => {});
  const socket = await fake.welcomed();
  const { id } = socket.last("subscribe");
  await socket.deliver({ type: "error", id, code: "not_found", message: "no such task" });
  await assert.rejects(seen, { code: "not_found" });
});

test("an iterator of a handle that is closed ends", async () => {
  const { handle } = await published();
  const seen = read(handle);
  await settled();
  handle.close();
  assert.deepEqual(await seen, [1]);
});

test("cancelling waits for the subscription, and for the server's answer", async () => {
  const fake = setUp();
  const handle = fake.tasks.task("t1", { token: "signed" });
  let isCancelled = false;
  const cancelled = handle.cancel().then(() => (isCancelled = true));
  const socket = await fake.welcomed();
  assert.equal(socket.all("cancel").length, 0);
  await socket.subscribed({ offset: 1, snapshot: [status(1)] });
  const { id, task_id } = socket.last("cancel");
  assert.equal(task_id, "t1");
  assert.equal(isCancelled, false);
  await socket.deliver({ type: "cancelled", id, task_id });
  await cancelled;
});

test("cancelling twice sends one request, and another after the connection was lost", async () => {
  const { fake, handle, socket } = await published();
  const both = Promise.all([handle.cancel(), handle.cancel()]);
  assert.equal(socket.all("cancel").length, 1);
  await socket.cut(1006);
  const again = await fake.back();
  await again.subscribed({ offset: 1, events: [] });
  const { id } = again.last("cancel");
  await again.deliver({ type: "cancelled", id, task_id: "t1" });
  await both;
  handle.cancel();
  assert.equal(again.all("cancel").length, 2);
});

test("cancelling right after a reconnection waits for the subscription", async () => {
  const { fake, handle, socket } = await published();
  await socket.cut(1006);
  const again = await fake.back();
  handle.cancel();
  assert.equal(again.all("cancel").length, 0);
  await again.subscribed({ offset: 1, events: [] });
  assert.equal(again.all("cancel").length, 1);
});

test("a refused cancel rejects, and the handle stays open", async () => {
  const { handle, socket } = await published();
  const isRefused = assert.rejects(handle.cancel(), { code: "not_found" });
  await socket.deliver({ type: "error", id: socket.last("cancel").id, code: "not_found", message: "no" });
  await isRefused;
  await socket.event(2, status(2));
  assert.equal(handle.status?.version, 2);
});

test("cancelling through a closed handle rejects", async () => {
  const { fake, handle } = await published();
  const isRefused = assert.rejects(handle.cancel(), { code: "closed" });
  fake.tasks.close();
  await isRefused;
  await assert.rejects(handle.cancel(), { code: "closed" });
});

test("there is nothing to cancel after a success", async () => {
  const { handle, socket } = await published();
  await socket.event(2, status(2, "SUCCESS"));
  await handle.cancel();
  assert.equal(socket.all("cancel").length, 0);
});
