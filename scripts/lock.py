"""Make the locks from `requirements/*.in`: with hashes, for every platform, without addresses."""

from __future__ import annotations

import subprocess
import sys

from bootstrap import REQUIREMENTS, uv_environment

COMPILE = [sys.executable, "-m", "uv", "pip", "compile", "-q", "--upgrade", "--universal"]
COMPILE += ["--python-version", "3.11", "--generate-hashes", "--no-emit-index-url"]
COMPILE += ["--no-header", "--no-annotate"]

#: The locks in the order in which they are made, with their constraints. The runtime lock
#: constrains the dev lock, so that the tests use the versions of `make run`. The dev lock
#: constrains the bench lock: both are installed into the same environment.
LOCKS = {
    "bootstrap": [],
    "runtime": [],
    "dev": ["-c", "runtime.lock"],
    "bench": ["-c", "dev.lock"],
    "audit": [],  # in an environment of its own
}


def main() -> int:
    # Without the machine's additional indexes and folders: they may have only some files of a
    # version, and a lock needs the hashes of all files.
    only_here = ("UV_INDEX", "UV_FIND_LINKS")
    environment = {k: v for k, v in uv_environment().items() if k not in only_here}
    for name, constraints in LOCKS.items():
        command = [*COMPILE, f"{name}.in", *constraints, "-o", f"{name}.lock"]
        done = subprocess.run(command, cwd=REQUIREMENTS, env=environment, check=False)
        if done.returncode != 0:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
