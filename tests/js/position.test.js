import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { step } from "../../static/realtime/src/position.mjs";

const cases = JSON.parse(
  readFileSync(new URL("../cases/position.json", import.meta.url), "utf-8"),
);

for (const { name, last, incoming, step: expected } of cases) {
  test(`the rule: ${name}`, () => assert.equal(step(last, incoming), expected));
}

const merged = /** @type {[string, number, number, number, string][]} */ ([
  // name, last offset, incoming offset, merged, step
  ["what was merged away fills the gap", 4, 8, 3, "deliver"],
  ["a merge that reaches back behind the reader is delivered", 6, 8, 3, "deliver"],
  ["a merge that is too small leaves a gap", 3, 8, 3, "gap"],
  ["a merge that was had is dropped", 8, 8, 3, "drop"],
  ["nothing merged is the plain rule", 7, 8, 0, "deliver"],
]);

for (const [name, last, offset, count, expected] of merged) {
  test(`the rule: ${name}`, () => {
    const epoch = "k3x9";
    assert.equal(step({ epoch, offset: last }, { epoch, offset }, count), expected);
  });
}

test("the rule: a merge does not bridge epochs", () => {
  assert.equal(step({ epoch: "a", offset: 4 }, { epoch: "b", offset: 8 }, 3), "gap");
});
