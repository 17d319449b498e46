"""The JavaScript client's own tests, run by the Node that is on this machine."""

from __future__ import annotations

import json
import re
import shutil
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
    assert int(passed[1]) > len(TESTS), "a file had no test that ran"


def test_the_javascript_lock_names_no_registry() -> None:
    packages = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert "node_modules/typescript" in packages
    assert [name for name, package in packages.items() if "resolved" in package] == []


@pytest.fixture(scope="module")
def tools() -> str:
    """Node with TypeScript and esbuild, which `make test` installs if it can."""
    node = find_node(LEAST_FOR_TOOLS)
    if node is None or not are_installed():
        pytest.skip("the tools of package-lock.json are not installed: scripts/node.py install")
    return node


def test_the_committed_bundles_are_built_from_the_sources(tools: str) -> None:
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


#: The options of Vite's template for TypeScript.
VITE = {
    "strict": True,
    "noEmit": True,
    "target": "es2022",
    "module": "esnext",
    "moduleResolution": "bundler",
    "lib": ["es2022", "dom", "dom.iterable"],
    "types": [],
    "skipLibCheck": False,
}
#: Declarations of what the examples use of their page.
AROUND = """
import type { Status } from "/static/realtime/client.js";
declare global {
  const id: string, token: string, csrf: string;
  const bar: HTMLProgressElement, label: HTMLElement, badge: HTMLElement;
  function drawAnew(statuses: Status[]): void;
  function drawOne(status: Status): void;
}
"""


def test_the_examples_compile_in_a_strict_typescript_project(tools: str, tmp_path: Path) -> None:
    ships = tmp_path / "static" / "realtime"
    ships.mkdir(parents=True)
    for file in (ROOT / "static" / "realtime").glob("*.*s"):
        shutil.copy(file, ships)
    pages = [(ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/client.md")]
    blocks = re.compile(r"^```js\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    examples = [example for page in pages for example in blocks.findall(page)]
    assert len(examples) > 4
    for number, example in enumerate(examples):
        (tmp_path / f"example{number}.ts").write_text(example, encoding="utf-8")
    (tmp_path / "around.ts").write_text(AROUND, encoding="utf-8")
    options = {
        "compilerOptions": VITE | {"paths": {"/static/*": ["./static/*"]}},
        "include": ["*.ts"],
    }
    (tmp_path / "tsconfig.json").write_text(json.dumps(options), encoding="utf-8")
    command = [tools, str(ROOT / "node_modules/typescript/bin/tsc"), "--project", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout


def test_a_check_without_npm_or_node_is_skipped_with_the_reason() -> None:
    # Without the packages of the development lock, and with an empty PATH.
    command = [sys.executable, "-S", "scripts/node.py", "build", "--check"]
    run = subprocess.run(
        command, cwd=ROOT, env={"PATH": ""}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "BUILD OF THE JAVASCRIPT CLIENT DID NOT RUN: there is no Node" in run.stdout
