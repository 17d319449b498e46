"""The rule of every subscriber, by the table that tests the JavaScript client too."""

import json
from pathlib import Path

import pytest

from realtime.core.position import Position, step

CASES = json.loads((Path(__file__).parents[2] / "cases" / "position.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_step_follows_the_table(case):
    last = Position(**case["last"]) if case["last"] else None
    assert step(last, Position(**case["incoming"])) == case["step"]
