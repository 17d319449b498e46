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
  ["the merged events close the gap", 4, 8, 3, "deliver"],
  ["an event is delivered if some of its merged events are known", 6, 8, 3, "deliver"],
  ["too few merged events leave a gap", 3, 8, 3, "gap"],
  ["an event that is known is dropped with its merged events", 8, 8, 3, "drop"],
  ["without merged events the rule is that of the table", 7, 8, 0, "deliver"],
]);

for (const [name, last, offset, count, expected] of merged) {
  test(`the rule: ${name}`, () => {
    const epoch = "k3x9";
    assert.equal(step({ epoch, offset: last }, { epoch, offset }, count), expected);
  });
}

test("the rule: merged events do not close a gap between epochs", () => {
  assert.equal(step({ epoch: "a", offset: 4 }, { epoch: "b", offset: 8 }, 3), "gap");
});
