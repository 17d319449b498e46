"""Print the path of a browser for the tests, installing Debian's as root if need be.

    python scripts/browser.py chromium
    python scripts/browser.py firefox

Prints nothing, and says on stderr what to do, when there is none: its tests are then skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import NamedTuple


class Browser(NamedTuple):
    """What it is called, and the packages of Debian that bring it."""

    names: tuple[str, ...]
    packages: tuple[str, ...]


BROWSERS = {
    "chromium": Browser(
        ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
        # Fonts, or a page has no text to look at; and a library that Playwright's Node needs.
        ("chromium", "fonts-dejavu-core", "libatomic1"),
    ),
    "firefox": Browser(("firefox-esr", "firefox"), ("firefox-esr", "fonts-dejavu-core")),
}


def find(name: str) -> str | None:
    if given := os.environ.get(name.upper()):
        return given
    return next((path for each in BROWSERS[name].names if (path := shutil.which(each))), None)


def install(name: str) -> None:
    """Install by apt; its output goes to stderr, as stdout is the answer."""
    packages = BROWSERS[name].packages
    say(name, f"installing {' '.join(packages)} for the browser tests")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
    ):
        done = subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            say(name, f"`{' '.join(command)}` failed")
            return


def main(name: str) -> int:
    if find(name) is None and shutil.which("apt-get") and os.geteuid() == 0:
        install(name)
    path = find(name)
    if path is None:
        packages = " ".join(BROWSERS[name].packages)
        say(name, f"NO {name.upper()}: its tests will be skipped. Install one")
        say(name, f"(Debian: sudo apt-get install {packages}) or name it: {name.upper()}=/path")
    else:
        print(path)
    return 0


def say(name: str, text: str) -> None:
    print(f"[{name}] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
