"""The JavaScript client's own tests, run by the Node that is on this machine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.node import LEAST, LEAST_FOR_TOOLS, are_installed, find_node

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


@pytest.fixture(scope="module")
def tools() -> str:
    """A Node for TypeScript and esbuild, which `make test` has installed where it could."""
    node = find_node(LEAST_FOR_TOOLS)
    if node is None or not are_installed():
        pytest.skip("the tools of package-lock.json are not installed: scripts/node.py install")
    return node


def test_the_committed_bundles_are_what_the_sources_make(tools: str) -> None:
    command = [tools, "scripts/build.mjs", "--check"]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr


def test_the_sources_and_their_tests_pass_the_type_check(tools: str) -> None:
    command = [tools, "node_modules/typescript/bin/tsc", "--project", "."]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stdout


def test_a_check_without_npm_or_node_is_skipped_and_says_so() -> None:
    # A Python without the development lock, and nothing on PATH.
    command = [sys.executable, "-S", "scripts/node.py", "build", "--check"]
    run = subprocess.run(
        command, cwd=ROOT, env={"PATH": ""}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "BUILD OF THE JAVASCRIPT CLIENT DID NOT RUN: there is no Node" in run.stdout
