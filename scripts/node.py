"""Run Node, or the TypeScript check, with what is on this machine.

    python scripts/node.py --test tests/js     Node with these arguments
    python scripts/node.py tsc                 check the JavaScript client's types

Node is the one on PATH when it is new enough, else the one inside Playwright's wheel, so
that nothing has to be installed. TypeScript comes by `npm ci`; without npm the check is
skipped, and says so.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = ROOT / "node_modules"
#: Older ones have no WebSocket of their own.
LEAST = 22


def find_node() -> str | None:
    """The path of a Node that runs here and is new enough."""
    candidates = [shutil.which("node")]
    playwright = find_spec("playwright")
    if playwright is not None and playwright.origin is not None:
        candidates.append(str(Path(playwright.origin).parent / "driver" / "node"))
    return next((path for path in candidates if path and major_version(path) >= LEAST), None)


def major_version(node: str) -> int:
    """Its major version, 0 if it does not run."""
    try:
        asked = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return 0
    match = re.match(r"v(\d+)\.", asked.stdout)
    return int(match[1]) if match else 0


def install_modules() -> bool:
    """Have node_modules as package-lock.json says; False where there is no npm.

    Raises CalledProcessError when npm fails.
    """
    stamp = MODULES / ".stamp"
    wanted = hashlib.sha256((ROOT / "package-lock.json").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return True
    if shutil.which("npm") is None:
        return False
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=ROOT, check=True)
    stamp.write_text(wanted)
    return True


def main(arguments: list[str]) -> int:
    node = find_node()
    if arguments == ["tsc"]:
        if node is None or not install_modules():
            missing = "npm" if node else f"Node {LEAST} or newer"
            print(f"!!! THE TYPESCRIPT CHECK DID NOT RUN: there is no {missing} on this machine")
            return 0
        arguments = [str(MODULES / "typescript" / "bin" / "tsc"), "--project", "."]
    if node is None:
        print(f"Node {LEAST} or newer is needed, on PATH or by Playwright's wheel (which needs")
        print("libatomic1; Debian: sudo apt-get install libatomic1)")
        return 1
    os.chdir(ROOT)
    return subprocess.run([node, *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
