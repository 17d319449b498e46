import assert from "node:assert/strict";
import { test } from "node:test";

import { idPath } from "../../static/realtime/src/client.mjs";
import { collect, reported, seeded, setUp, settled, status } from "./fake.js";

const PAGE = "http://example.test/page/";

/**
 * A page with some tasks, each with a token of 900 s.
 * @param {{tasks?: string[], token?: any, random?: () => number, grant?: boolean}} [options]
 */
async function granted({ tasks = ["t1"], token = "signed", random = () => 0.5, grant = true } = {}) {
  const fake = setUp({ answersPings: true, location: PAGE, random, config: { csrf_token: "csrf" } });
  if (grant) fake.site.grant();
  const handles = tasks.map((id) => fake.tasks.task(id, { token }));
  const socket = await fake.welcomed();
  await answer(socket);
  return { fake, handles, socket };
}

/**
 * Grants every `subscribe` that was not answered yet.
 * @param {import("./fake.js").FakeSocket} socket
 * @param {number | null} [expires_in]
 */
async function answer(socket, expires_in = 900) {
  for (const { id, topic, since } of socket.all("subscribe")) {
    if (socket.answered.has(id)) continue;
    socket.answered.add(id);
    const rest = since
      ? { recovered: true, offset: since.offset, events: [] }
      : { recovered: false, offset: 4, snapshot: [status(4, "STARTED", { task_id: topic.slice(5) })] };
    await socket.deliver({ type: "subscribed", id, topic, epoch: "k3x9", expires_in, ...rest });
  }
}

test("all topics are renewed in one request, with the page's session and CSRF token", async () => {
  const { fake, socket } = await granted({ tasks: ["t1", "t2", "t3"] });
  await fake.clock.advance(900_000 * 0.65 - 1);
  assert.deepEqual(fake.site.requests, []);
  await fake.clock.advance(1);
  const [{ url, method, headers, body }] = /** @type {any} */ (fake.site.requests);
  assert.equal(url, "http://example.test/realtime/tokens/");
  assert.equal(method, "POST");
  assert.equal(headers["X-CSRFToken"], "csrf");
  assert.deepEqual(body, { topics: ["task:t1", "task:t2", "task:t3"] });
  const renewed = socket.all("subscribe").slice(3);
  assert.deepEqual(renewed.map(({ topic, token }) => [topic, token]), [
    ["task:t1", "renewed-1"], ["task:t2", "renewed-1"], ["task:t3", "renewed-1"],
  ]);
  assert.deepEqual(renewed[0].since, { epoch: "k3x9", offset: 4 });
  await answer(socket);
  await fake.clock.advance(900_000);
  assert.equal(fake.site.requests.length, 2);
});

test("tokens are renewed at a random 50 to 80 % of the shortest lifetime", async () => {
  const random = seeded(5);
  const shares = [];
  for (let i = 0; i < 200; i += 1) {
    const { fake } = await granted({ random });
    const start = fake.clock.time;
    while (fake.site.requests.length === 0) await fake.clock.advance(fake.clock.next);
    shares.push((fake.clock.time - start) / 900_000);
  }
  assert.ok(shares.every((share) => share >= 0.5 && share <= 0.8));
  assert.ok(Math.min(...shares) < 0.52 && Math.max(...shares) > 0.78);
});

test("a token function is called again before the token expires, once for all that share it", async () => {
  let calls = 0;
  const token = async () => `token-${++calls}`;
  const { fake, socket } = await granted({ tasks: ["t1", "t2", "t3"], token });
  assert.equal(calls, 1);
  assert.deepEqual(socket.all("subscribe").map((frame) => frame.token), Array(3).fill("token-1"));
  await fake.clock.advance(900_000 * 0.65);
  assert.equal(calls, 2);
  assert.deepEqual(socket.all("subscribe").slice(3).map((frame) => frame.token), Array(3).fill("token-2"));
  assert.deepEqual(fake.site.requests, []);
});

test("a grant that does not expire is not renewed", async () => {
  const fake = setUp({ answersPings: true, location: PAGE });
  fake.tasks.task("t1");
  await answer(await fake.welcomed(), null);
  await fake.clock.advance(86_400_000);
  assert.deepEqual(fake.site.requests, []);
});

test("20 network changes in one lifetime cause one request", async () => {
  const { fake } = await granted({ tasks: ["t1", "t2"] });
  for (let i = 1; i <= 20; i += 1) {
    await fake.clock.advance(36_000);
    await fake.socket.cut(1006);
    fake.events.dispatchEvent(new Event("online"));
    await fake.clock.advance(1_000);
    await fake.socket.welcome();
    await answer(fake.socket, 900 - 37 * i);
  }
  assert.equal(fake.site.requests.length, 1);
});

for (const ahead of [-3_600_000, 3_600_000]) {
  test(`a clock that is ${ahead / 3_600_000} h off causes no request`, async () => {
    const { fake } = await granted();
    fake.clock.ahead = ahead;
    await fake.clock.advance(900_000 * 0.65 - 1);
    assert.deepEqual(fake.site.requests, []);
    await fake.clock.advance(1);
    assert.equal(fake.site.requests.length, 1);
  });
}

test("a client that slept until its tokens expired requests tokens once, before it subscribes", async () => {
  const { fake, socket } = await granted({ tasks: ["t1", "t2", "t3"] });
  socket.answersPings = false;
  await socket.cut(1006);
  fake.clock.time += 7_200_000;
  fake.events.dispatchEvent(new Event("visibilitychange"));
  await fake.socket.welcome();
  assert.equal(fake.site.requests.length, 1);
  const subscribed = fake.socket.all("subscribe").map(({ token }) => token);
  assert.deepEqual(subscribed, Array(3).fill("renewed-1"));
});

test("a client whose clock stopped during a sleep requests tokens once, after the refusals", async () => {
  const { fake, handles } = await granted({ tasks: ["t1", "t2", "t3"] });
  await fake.socket.cut(1006);
  const again = await fake.back();
  for (const { id } of again.all("subscribe")) {
    await again.deliver({ type: "error", id, code: "unauthorized", message: "the token has ended" });
  }
  await settled();
  assert.equal(fake.site.requests.length, 1);
  assert.deepEqual(again.all("subscribe").slice(3).map(({ token }) => token), Array(3).fill("renewed-1"));
  await answer(again);
  assert.deepEqual(handles.map(({ status }) => status?.state), Array(3).fill("STARTED"));
});

test("a subscription whose token expired is renewed once more, and the ending arrives", async () => {
  const { fake, handles, socket } = await granted();
  const topic = "task:t1";
  await socket.deliver({ type: "unsubscribed", topic, code: "unauthorized", message: "ended" });
  await settled();
  assert.equal(fake.site.requests.length, 1);
  const { id, since, token } = socket.last("subscribe");
  assert.deepEqual([since, token], [{ epoch: "k3x9", offset: 4 }, "renewed-1"]);
  const events = [{ offset: 5, status: status(5, "SUCCESS") }];
  await socket.deliver({
    type: "subscribed", id, topic, epoch: "k3x9", offset: 5, recovered: true, events, expires_in: 900,
  });
  assert.equal((await /** @type {any} */ (handles[0]).done()).state, "SUCCESS");
});

test("the client requests a token for a visitor when the server requires one", async () => {
  const fake = setUp({ answersPings: true, location: PAGE });
  fake.site.grant();
  fake.tasks.topic("user:me");
  const socket = await fake.welcomed();
  const { id } = socket.last("subscribe");
  await socket.deliver({ type: "error", id, code: "unauthorized", message: "sign in, or give a token" });
  assert.deepEqual(fake.site.requests.map(({ body }) => body), [{ topics: ["user:me"] }]);
  assert.equal(socket.last("subscribe").token, "renewed-1");
});

test("a topic that the session may not see ends with an error, and the others continue", async () => {
  const { fake, handles, socket } = await granted({ tasks: ["t1", "t2"] });
  fake.site.grant(["task:t1"]);
  const errors = collect((handler) => handles[0]?.onError(handler));
  await fake.clock.advance(900_000 * 0.65);
  await answer(socket);
  assert.deepEqual(errors, [], "its token has not ended yet");
  await socket.deliver({ type: "unsubscribed", topic: "task:t1", code: "unauthorized", message: "ended" });
  await settled();
  assert.deepEqual(errors.map(({ code, message }) => [code, message]), [["unauthorized", "ended"]]);
  assert.equal(handles[1]?.status?.state, "STARTED");
  await socket.event(5, status(5, "STARTED", { task_id: "t2" }), { topic: "task:t2" });
  assert.equal(handles[1]?.status?.version, 5);
});

test("a request that is refused names the reason in the error, and in the console", async () => {
  const { fake, handles, socket } = await granted({ grant: false });
  const error = { code: "forbidden", message: "the CSRF token is missing or wrong" };
  fake.site.answer = () => Response.json({ error }, { status: 403 });
  await fake.clock.advance(900_000 * 0.65);
  assert.match(String(fake.warnings), /CSRF token is missing/);
  const rejected = assert.rejects(/** @type {any} */ (handles[0]).done(), {
    code: "unauthorized", message: /ended \(the CSRF token is missing or wrong\)/,
  });
  await socket.deliver({ type: "unsubscribed", topic: "task:t1", code: "unauthorized", message: "ended" });
  await rejected;
});

test("a sign-in page in place of the answer reports that signing in is needed", async () => {
  const { fake, handles, socket } = await granted({ grant: false });
  fake.site.answer = () => new Response("<form>", { headers: { "Content-Type": "text/html" } });
  const rejected = assert.rejects(/** @type {any} */ (handles[0]).done(), { message: /signing in/ });
  await socket.deliver({ type: "unsubscribed", topic: "task:t1", code: "unauthorized", message: "ended" });
  await rejected;
});

test("a request that fails is tried again until it succeeds, with waits", async () => {
  const { fake, handles, socket } = await granted({ grant: false });
  const errors = collect((handler) => handles[0]?.onError(handler));
  fake.site.answer = () => {
    throw new TypeError("Failed to fetch");
  };
  await fake.clock.advance(900_000 * 0.65);
  assert.match(String(fake.warnings), /tokens are not renewed: Failed to fetch/);
  await fake.clock.advance(10_000);
  assert.ok(fake.site.requests.length <= 8, `${fake.site.requests.length} requests in 10 s`);
  await socket.deliver({ type: "unsubscribed", topic: "task:t1", code: "unauthorized", message: "ended" });
  fake.site.grant();
  await fake.clock.advance(30_000);
  assert.equal(socket.last("subscribe").token, "renewed-1");
  assert.deepEqual(errors, []);
});

test("a token function that fails while renewing is reported and called again", async () => {
  let calls = 0;
  const token = () => {
    calls += 1;
    if (calls === 2) throw new Error("offline");
    return `token-${calls}`;
  };
  const errors = await reported(async () => {
    const { fake, socket } = await granted({ token });
    await fake.clock.advance(900_000 * 0.65);
    await fake.clock.advance(1_000);
    assert.equal(socket.last("subscribe").token, "token-3");
  });
  assert.match(String(errors[0]), /offline/);
});

test("a token function that always returns an expired token is called twice", async () => {
  const fake = setUp();
  let calls = 0;
  const handle = fake.tasks.task("t1", { token: () => `ended ${++calls}` });
  const rejected = assert.rejects(handle.done(), { code: "unauthorized" });
  const socket = await fake.welcomed();
  for (let i = 0; i < 2; i += 1) {
    const { id } = socket.last("subscribe");
    await socket.deliver({ type: "error", id, code: "unauthorized", message: "ended" });
  }
  await rejected;
  assert.equal(calls, 2);
});

test("on a page of another site a token that is text ends with an error", async () => {
  const fake = setUp({ answersPings: true, location: "http://elsewhere.test/" });
  const handle = fake.tasks.task("t1", { token: "signed" });
  const socket = await fake.welcomed();
  await answer(socket);
  await fake.clock.advance(900_000);
  const rejected = assert.rejects(handle.done(), { code: "unauthorized" });
  await socket.deliver({ type: "unsubscribed", topic: "task:t1", code: "unauthorized", message: "ended" });
  await rejected;
  assert.deepEqual(fake.site.requests, []);
});

test("a page with more topics than fit into a token requests several", async () => {
  const tasks = Array.from({ length: 130 }, (_, i) => `t${i}`);
  const fake = setUp({ answersPings: true, location: PAGE });
  fake.site.grant();
  for (const id of tasks) fake.tasks.task(id, { token: "signed" });
  await settled();
  await fake.socket.welcome({ subscriptions: 500, frame_burst: 1000 });
  await answer(fake.socket);
  await fake.clock.advance(900_000 * 0.65);
  assert.deepEqual(fake.site.requests.map(({ body }) => body.topics.length), [128, 2]);
});

test("a token names as many long ids as fit into a frame", async () => {
  const fake = setUp({ answersPings: true, location: PAGE });
  fake.site.grant();
  for (let i = 0; i < 60; i += 1) fake.tasks.task(`${"é".repeat(200)}${i}`, { token: "signed" });
  await settled();
  await fake.socket.welcome({ subscriptions: 500, frame_burst: 1000 });
  await answer(fake.socket);
  await fake.clock.advance(900_000 * 0.65);
  const counts = fake.site.requests.map(({ body }) => body.topics.length);
  assert.equal(counts.reduce((sum, count) => sum + count), 60);
  assert.ok(Math.max(...counts) * 200 * 6 < 10_000, `${counts}`);
});

test("a token function that never answers is reported, and called again", async () => {
  let calls = 0;
  const token = () => (++calls === 1 ? new Promise(() => {}) : "second");
  const errors = await reported(async () => {
    const fake = setUp({ answersPings: true });
    fake.tasks.task("t1", { token });
    const socket = await fake.welcomed();
    await fake.clock.advance(29_000);
    assert.deepEqual([calls, socket.all("subscribe")], [1, []]);
    await fake.clock.advance(2_000);
    assert.equal(socket.last("subscribe").token, "second");
  });
  assert.match(String(errors), /no answer in 30 s/);
});

test("a token function that never answers does not prevent the renewal of other tokens", async () => {
  const hanging = { calls: 0, token: () => (++hanging.calls === 1 ? "first" : new Promise(() => {})) };
  const errors = await reported(async () => {
    const { fake, socket } = await granted();
    fake.site.answer = () => {
      throw new TypeError("Failed to fetch");
    };
    fake.tasks.task("t2", { token: hanging.token });
    await settled();
    await answer(socket);
    await fake.clock.advance(900_000 * 0.65);
    fake.site.grant();
    await fake.clock.advance(2_000);
    assert.equal(hanging.calls, 2);
    assert.equal(socket.last("subscribe").token, "renewed-1");
  });
  assert.deepEqual(errors, []);
});

test("a token that is not text is an error that names the allowed types", async () => {
  const { fake } = await granted();
  const promised = /** @type {any} */ (Promise.resolve("signed"));
  assert.throws(() => fake.tasks.task("t2", { token: promised }), /a string or a function/);
  fake.tasks.task("t3", { token: /** @type {any} */ (null) });
  const errors = await reported(async () => {
    fake.tasks.task("t4", { token: /** @type {any} */ (() => ({ token: "signed" })) });
    await settled();
  });
  assert.match(String(errors[0]), /must return a string/);
});

test("a site without the service's addresses ends the subscription and names the address", async () => {
  const { fake, handles, socket } = await granted({ grant: false });
  fake.site.answer = () => new Response("<h1>Not Found</h1>", { status: 404 });
  const rejected = assert.rejects(/** @type {any} */ (handles[0]).done(), { message: /ended .*HTTP 404/ });
  await socket.deliver({ type: "unsubscribed", topic: "task:t1", code: "unauthorized", message: "ended" });
  await rejected;
});

test("a cancel and a page that the expiry of a token interrupted are requested again", async () => {
  const { fake, handles, socket } = await granted();
  const done = /** @type {any} */ (handles[0]).cancel();
  const { id } = socket.last("cancel");
  await socket.deliver({ type: "unsubscribed", topic: "task:t1", code: "unauthorized", message: "ended" });
  await socket.deliver({ type: "error", id, code: "not_found", message: "no such task" });
  assert.equal(fake.site.requests.length, 1);
  await answer(socket);
  const again = socket.last("cancel");
  assert.notEqual(again.id, id);
  await socket.deliver({ type: "cancelled", id: again.id, task_id: "t1" });
  await done;
});

test("a new token for a topic that is subscribed to is sent at once", async () => {
  const { fake, socket } = await granted();
  fake.tasks.task("t1", { token: "another" });
  assert.equal(socket.last("subscribe").token, "another");
  fake.tasks.task("t1", { token: "another" });
  assert.equal(socket.all("subscribe").length, 2);
});

test("nothing is renewed for a client that is closed", async () => {
  const { fake } = await granted();
  fake.tasks.close();
  assert.equal(fake.clock.pending, 0);
});

test("the addresses come from the page's configuration, with the script prefix", async () => {
  const config = {
    socket: "/app/realtime/ws/", http: "/app/api/live/",
    csrf_token: "abc", csrf_header: "X-Forgery",
  };
  const { connect } = await import("../../static/realtime/src/client.mjs");
  const { FakeSite, FakeSocket } = await import("./fake.js");
  const site = new FakeSite();
  site.grant();
  const urls = /** @type {string[]} */ ([]);
  const WebSocket = class extends FakeSocket {
    /** @param {string} url */
    constructor(url) {
      super(url);
      urls.push(url);
    }
  };
  const tasks = connect(undefined, { config, location: PAGE, WebSocket, fetch: site.fetch });
  assert.equal(await tasks.requestToken(["user:me"]), "renewed-1");
  assert.equal(site.requests[0]?.url, "http://example.test/app/api/live/tokens/");
  assert.equal(site.requests[0]?.headers["X-Forgery"], "abc");
  assert.equal(tasks.resultUrl("a/b"), "http://example.test/app/api/live/tasks/~YS9i/result/");
  tasks.task("t1");
  await settled();
  assert.deepEqual(urls, ["ws://example.test/app/realtime/ws/"]);
  tasks.close();
});

test("an id stays one segment of the path in an address", () => {
  assert.equal(idPath("0b8f-A_z9"), "0b8f-A_z9");
  for (const id of ["a/b", "..", "x/result", "%2F", "é", "a b", "~", "😀?>", ""]) {
    const path = idPath(id);
    assert.match(path, /^~[A-Za-z0-9_-]*$/);
    assert.equal(Buffer.from(path.slice(1), "base64url").toString(), id);
  }
});
