"""Print the path of a Chromium for the browser tests, installing Debian's as root if need be.

Prints nothing, and says on stderr what to do, when there is none: the tests are then skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Fonts, or a page has no text to look at; and a library that Playwright's Node needs.
PACKAGES = ["chromium", "fonts-dejavu-core", "libatomic1"]


def find() -> str | None:
    if given := os.environ.get("CHROMIUM"):
        return given
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def install() -> None:
    """Install by apt; its output goes to stderr, as stdout is the answer."""
    say(f"installing {' '.join(PACKAGES)} for the browser tests")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES],
    ):
        done = subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            say(f"`{' '.join(command)}` failed")
            return


def main() -> int:
    if find() is None and shutil.which("apt-get") and os.geteuid() == 0:
        install()
    path = find()
    if path is None:
        say("NO CHROMIUM: the browser tests will be skipped. Install one")
        say(f"(Debian: sudo apt-get install {' '.join(PACKAGES)}) or name it: CHROMIUM=/path")
    else:
        print(path)
    return 0


def say(text: str) -> None:
    print(f"[chromium] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
