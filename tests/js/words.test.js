import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { describe, WORDS } from "../../static/realtime/src/words.mjs";

const cases = JSON.parse(readFileSync(new URL("../cases/words.json", import.meta.url), "utf-8"));

for (const { status, text } of cases) {
  test(`in words: ${JSON.stringify(status)}`, () => assert.equal(describe(status), text));
}

test("words may be replaced, and added for states of a task's own", () => {
  const words = { ...WORDS, count: "{current} von {total}", running: "läuft", TRAINING: "lernt" };
  const progress = { current: 3, total: 4, message: null };
  const status = { state: "TRAINING", progress, error: null, cancelling: false };
  assert.equal(describe(status, words), "lernt: 3 von 4");
  assert.equal(describe({ ...status, state: "TUNING" }, words), "läuft: 3 von 4");
});
