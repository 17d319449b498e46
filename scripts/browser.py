"""Print the path of a browser for the tests, after installing Debian's, as root, if there is none.

    python scripts/browser.py chromium
    python scripts/browser.py firefox

Without one it prints nothing, and the remedy on stderr: the browser's tests are then skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import NamedTuple


class Browser(NamedTuple):
    """Names of its program, and the packages of Debian that contain it."""

    names: tuple[str, ...]
    packages: tuple[str, ...]


BROWSERS = {
    "chromium": Browser(
        ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
        # Fonts, without which a page shows no text, and a library that Playwright's Node needs.
        ("chromium", "fonts-dejavu-core", "libatomic1"),
    ),
    "firefox": Browser(("firefox-esr", "firefox"), ("firefox-esr", "fonts-dejavu-core")),
}


def find(name: str) -> str | None:
    if given := os.environ.get(name.upper()):
        return given
    return next((path for each in BROWSERS[name].names if (path := shutil.which(each))), None)


def install(name: str) -> None:
    """Install by apt, without its output: stdout is for the path."""
    packages = BROWSERS[name].packages
    log(name, f"installing {' '.join(packages)} for the browser tests")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
    ):
        done = subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            log(name, f"`{' '.join(command)}` failed")
            return


def main(name: str) -> int:
    if find(name) is None and shutil.which("apt-get") and os.geteuid() == 0:
        install(name)
    path = find(name)
    if path is None:
        packages = " ".join(BROWSERS[name].packages)
        log(name, f"NO {name.upper()}: its tests will be skipped. Install one")
        log(name, f"(Debian: sudo apt-get install {packages}) or name it: {name.upper()}=/path")
    else:
        print(path)
    return 0


def log(name: str, text: str) -> None:
    print(f"[{name}] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
