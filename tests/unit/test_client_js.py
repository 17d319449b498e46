"""The JavaScript client's own tests, run by the Node that is on this machine."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from scripts.node import LEAST, find_node

ROOT = Path(__file__).resolve().parents[2]
TESTS = sorted((ROOT / "tests" / "js").glob("*.test.js"))


def test_the_javascript_client_passes_its_own_tests() -> None:
    node = find_node()
    if node is None:
        pytest.skip(f"no Node {LEAST} or newer on PATH, and Playwright's does not run here")
    assert TESTS, "no JavaScript tests found"
    command = [node, "--test", "--test-reporter=spec", *map(str, TESTS)]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    print(run.stdout, run.stderr)
    assert run.returncode == 0, f"the JavaScript tests failed\n{run.stdout}{run.stderr}"
    passed = re.search(r"pass (\d+)", run.stdout)
    assert passed is not None, run.stdout
    assert int(passed[1]) > len(TESTS), "some files held no test that ran"


def test_the_javascript_lock_names_no_registry() -> None:
    packages = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert "node_modules/typescript" in packages
    assert [name for name, package in packages.items() if "resolved" in package] == []
