"""Print the path of a browser for the tests.

    python scripts/browser.py chromium
    python scripts/browser.py firefox

If there is none, root installs that of Debian. Otherwise this prints nothing to stdout, and the
remedy to stderr; the tests of that browser are then skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import NamedTuple


class Browser(NamedTuple):
    """The names of its program, and the Debian packages that it needs."""

    names: tuple[str, ...]
    packages: tuple[str, ...]


BROWSERS = {
    "chromium": Browser(
        ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
        # Without fonts a page shows no text. Playwright's Node needs libatomic1.
        ("chromium", "fonts-dejavu-core", "libatomic1"),
    ),
    "firefox": Browser(("firefox-esr", "firefox"), ("firefox-esr", "fonts-dejavu-core")),
}


def find(name: str) -> str | None:
    if given := os.environ.get(name.upper()):
        return given
    return next((path for each in BROWSERS[name].names if (path := shutil.which(each))), None)


def install(name: str) -> None:
    """Install the browser with apt, whose output is dropped: stdout is for the path."""
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
        log(name, f"NO {name.upper()}: its tests will be skipped. Install it")
        log(name, f"(Debian: sudo apt-get install {packages}), or set {name.upper()}=/path")
    else:
        print(path)
    return 0


def log(name: str, text: str) -> None:
    print(f"[{name}] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
