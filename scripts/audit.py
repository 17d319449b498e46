"""Run security tools on this project: `make audit`.

pip-audit searches for known vulnerabilities of the locked packages, and detect-secrets for secrets
in the tree. Schemathesis sends requests of every kind to a running service, by docs/openapi.json.
The tools need the network, so the tests do not run them. Their environment is `.audit/`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bootstrap import REQUIREMENTS, ROOT, uv_environment

UV = ROOT / ".venv" / "bin" / "uv"
ENVIRONMENT = ROOT / ".audit"
TOOLS = ENVIRONMENT / "bin"
#: Findings that were checked and are no secrets: passwords of the tests.
BASELINE = ".secrets.baseline"
#: What Schemathesis checks of each response.
CHECKS = ["not_a_server_error", "status_code_conformance", "response_schema_conformance"]
#: Seconds until a service must be ready.
PATIENCE = 60


def known_vulnerabilities() -> bool:
    """Return whether no locked package has a known vulnerability.

    A package whose vulnerabilities cannot be read counts as having one.
    """
    locks = sorted(REQUIREMENTS.glob("*.lock"))
    pip_audit = [str(TOOLS / "pip-audit"), "--strict", "--disable-pip", "--require-hashes"]
    service = os.environ.get("ADVISORIES", "pypi")
    verdicts = [succeeds([*pip_audit, "-s", service, "-r", str(lock)]) for lock in locks]
    return all(verdicts)


def secrets_in_the_tree() -> bool:
    """Return whether the tree has no secrets besides those of the baseline."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    files = [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]
    hashes = ("--exclude-files", r"\.lock$|package-lock\.json$|\.secrets\.baseline$")
    with tempfile.TemporaryDirectory() as directory:
        # A copy: if the line of a known secret has moved, the hook rewrites the baseline and exits
        # with 3.
        known = shutil.copy(ROOT / BASELINE, directory)
        hook = TOOLS / "detect-secrets-hook"
        return succeeds([hook, "--baseline", known, *hashes, *files], endings=(0, 3))


def requests_of_every_kind() -> bool:
    """Return whether a service always answers as docs/openapi.json describes, never with a 500."""
    with running_service() as url:
        proof = "a" * 32
        return succeeds(
            [
                *(TOOLS / "schemathesis", "run", "docs/openapi.json"),
                *("--url", f"{url}/realtime"),
                *("--checks", ",".join(CHECKS)),
                *("--max-examples", "200"),
                *("--header", f"X-CSRFToken: {proof}", "--header", f"Cookie: csrftoken={proof}"),
            ]
        )


@contextmanager
def running_service() -> Iterator[str]:
    """Start a service as `make run` does, without data; yield its address."""
    port = os.environ.get("PORT", "8765")
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as data_dir:
        env = {**os.environ, "PORT": port, "HOST": "127.0.0.1", "DATA_DIR": data_dir}
        command = [sys.executable, "-m", "project.run", "--with-parent"]
        with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL) as running:
            try:
                deadline = time.monotonic() + PATIENCE
                while not is_ready(url) and time.monotonic() < deadline:
                    time.sleep(0.1)
                yield url
            finally:
                running.terminate()


def is_ready(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"{url}/realtime/readyz", timeout=1) as answer:  # noqa: S310
        return bool(answer.status == 200)
    return False


def install() -> bool:
    """Make `.audit` with the packages of its lock; return whether that succeeded."""
    lock = REQUIREMENTS / "audit.lock"
    into = ["--python", str(TOOLS / "python"), "--require-hashes", "-r", str(lock)]
    return succeeds(
        [UV, "venv", "--quiet", "--clear", "--python", sys.executable, ENVIRONMENT]
    ) and succeeds([UV, "pip", "install", "--quiet", *into])


def succeeds(command: Sequence[str | Path], *, endings: Sequence[int] = (0,)) -> bool:
    """Run a command in the project's folder; return whether it exits with one of these codes."""
    done = subprocess.run(command, cwd=ROOT, env=uv_environment(), check=False)
    return done.returncode in endings


def main() -> int:
    """Run all tools, then print the result of each."""
    if not install():
        return 1
    parts = [known_vulnerabilities, secrets_in_the_tree, requests_of_every_kind]
    results = {part.__name__.replace("_", " "): part() for part in parts}
    for name, clean in results.items():
        print(f"{name:28} {'clean' if clean else 'NOT CLEAN'}")
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
