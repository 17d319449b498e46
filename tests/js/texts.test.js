import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { describe, TEXTS } from "../../static/realtime/src/texts.mjs";

const cases = JSON.parse(readFileSync(new URL("../cases/texts.json", import.meta.url), "utf-8"));

for (const { status, text } of cases) {
  test(`as a text: ${JSON.stringify(status)}`, () => assert.equal(describe(status), text));
}

test("texts may be replaced, and added for states of a task's own", () => {
  const texts = { ...TEXTS, count: "{current} von {total}", running: "läuft", TRAINING: "lernt" };
  const progress = { current: 3, total: 4, message: null };
  const status = { state: "TRAINING", progress, error: null, cancelling: false };
  assert.equal(describe(status, texts), "lernt: 3 von 4");
  assert.equal(describe({ ...status, state: "TUNING" }, texts), "läuft: 3 von 4");
});
