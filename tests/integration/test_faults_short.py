"""The fault runner, with a choice of its rows: `make faults` has them all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from project.processes import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

COUNTS = ("lost", "doubled", "reordered", "wrong")


def run(path: Path, *arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.faults", "--json", str(path), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    return rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The rows of faults that have processes of their own, all at once: they mostly wait."""
    path = tmp_path_factory.mktemp("faults") / "rows"
    found = run(path, "--only", "6,7,24,28a,29,30", "--no-contrast")
    return {row["number"]: row for row in found}


@pytest.mark.parametrize("number", ["6", "7", "7b", "24"])
def test_nothing_is_lost_doubled_reordered_or_wrong(
    rows: dict[str, dict[str, Any]], number: str
) -> None:
    assert rows[number]["tasks"] >= 16
    assert not any(rows[number][count] for count in COUNTS)


@pytest.mark.parametrize("number", ["28a", "29", "30a", "30b"])
def test_a_cold_shutdown_a_failover_and_a_rolling_deploy_lose_nothing(
    rows: dict[str, dict[str, Any]], number: str
) -> None:
    assert not any(rows[number][count] for count in COUNTS)


def test_every_ending_arrives_where_every_message_is_lost_and_the_oracle_sees_the_difference(
    tmp_path: Path,
) -> None:
    rows = run(tmp_path / "rows", "--only", "18c")
    [ours] = [row for row in rows if not row["contrast"]]
    [usual] = [row for row in rows if row["contrast"]]
    assert not any(ours[count] for count in COUNTS)
    assert usual["lost"] == usual["tasks"] == ours["tasks"]
