"""Make `.venv` with exactly the packages of the locks. This script needs only Python itself.

    python3 scripts/bootstrap.py           the packages that `make run` needs
    python3 scripts/bootstrap.py --dev     also those of the tests and checks
    python3 scripts/bootstrap.py --bench   those of `make run` and of the benchmarks

A stamp in `.venv` names the locks from which it was made. While they do not change, this script
does nothing. It never replaces `.venv` while a process uses it. The machine's configuration of pip
(index, find-links, certificates, proxy) decides from where packages are downloaded.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
MINIMUM = (3, 11)
#: Locks besides the runtime lock. Each contains the runtime lock, and none contradicts another, so
#: installing one changes no package of the others.
ADDITIONS = ("dev", "bench")
#: Prints what a virtual environment depends on. A patch release of Python does not change it.
IDENTITY = "import sys, sysconfig; print(sys.implementation.cache_tag, sysconfig.get_platform())"


class BootstrapError(Exception):
    """The user must do something first; the text names it."""


def main(arguments: list[str]) -> int:
    wanted = ["runtime", *(name for name in ADDITIONS if f"--{name}" in arguments)]
    try:
        check_python(sys.version_info[:2])
        # Two commands at once (`make run` in one terminal, `make test` in another) must not make
        # the same .venv. The lock is on a folder, so that no lock file is left.
        folder = os.open(REQUIREMENTS, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            ensure(wanted)
        finally:
            os.close(folder)
    except BootstrapError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def check_python(version: tuple[int, ...]) -> None:
    """Raise BootstrapError for a Python that the locks do not cover."""
    if version < MINIMUM:
        found, needed = (".".join(map(str, v)) for v in (version, MINIMUM))
        raise BootstrapError(
            f"Python {needed} or newer is needed, but {sys.executable} is {found}.\n"
            f"Install a newer Python, and name it: make PYTHON=python3.13 …"
        )


def ensure(wanted: list[str]) -> None:
    """Make .venv have the packages of the locks in `wanted`."""
    installed = [name for name in ("runtime", *ADDITIONS) if stamp_of(name)]
    fits = identity(PYTHON) == identity(Path(base_python()))
    current = [name for name in installed if fits and stamp_of(name) == expected_stamp(name)]
    if set(wanted) <= set(current):
        return
    # A changed lock that is not wanted now is installed by the command that wants it. If a wanted
    # lock has changed, packages that it no longer names would stay, so .venv is made again, with
    # all locks that it had: `make run` must not remove what `make test` has installed.
    if not fits or any(name in installed and name not in current for name in wanted):
        wanted = [*wanted, *(name for name in installed if name not in wanted)]
        if installed:
            log("the locks, Python or the folder have changed: making .venv again")
        remove_venv()
        make_venv()
        current = []
    elif not installed:  # an earlier run was interrupted
        remove_venv()
        make_venv()
    missing = [name for name in wanted if name not in current]
    for name in [name for name in missing if name in ADDITIONS] or missing:
        install(name)
    for name in missing:
        (VENV / f"stamp-{name}").write_text(expected_stamp(name))


def stamp_of(name: str) -> str:
    """Return the stamp of a lock in .venv; empty if the lock is not installed there."""
    try:
        return (VENV / f"stamp-{name}").read_text()
    except FileNotFoundError:
        return ""


def expected_stamp(name: str) -> str:
    """Return the stamp of a .venv that is up to date: the lock's hash, and the folder."""
    lock = hashlib.sha256((REQUIREMENTS / f"{name}.lock").read_bytes()).hexdigest()
    return f"{lock}\n{VENV}\n"


def identity(python: Path) -> str:
    """Return the cache tag and the platform of an interpreter; empty if it does not run."""
    try:
        done = subprocess.run(
            [str(python), "-I", "-S", "-c", IDENTITY], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def base_python() -> str:
    """Return the interpreter that makes .venv. It is outside .venv, which is removed first."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def remove_venv() -> None:
    """Remove .venv, unless a process uses it (`project.processes.lock_environment`)."""
    if not VENV.exists():
        return
    folder = os.open(VENV, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(VENV)
    except BlockingIOError:
        raise BootstrapError(
            ".venv must be made again, since the locks, Python or the folder have changed. But a\n"
            "command still uses it (`make run`, `make test`). Stop that command, then try again."
        ) from None
    finally:
        os.close(folder)


def make_venv() -> None:
    if importlib.util.find_spec("ensurepip") is None:
        install_ensurepip()
    log(f"making .venv with Python {'.'.join(map(str, sys.version_info[:3]))}")
    run([base_python(), "-m", "venv", str(VENV)], "python3 -m venv failed")


def install_ensurepip() -> None:
    """Install `ensurepip`, which Debian and Ubuntu have in a package of its own."""
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    if shutil.which("apt-get") is None:
        raise BootstrapError(
            f"{sys.executable} has no `ensurepip`, so it cannot make a virtual environment.\n"
            "Install your system's package with the venv and pip modules of Python."
        )
    if os.geteuid() != 0:
        raise BootstrapError(
            f"{sys.executable} has no `ensurepip`, so it cannot make a virtual environment.\n"
            f"Install it, then try again:\n\n    sudo apt-get install {package}\n"
        )
    log(f"installing {package}")
    run(["apt-get", "update", "-q"], "apt-get update failed")
    run(
        ["apt-get", "install", "-y", "-q", "--no-install-recommends", package],
        f"apt-get could not install {package}",
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )
    importlib.invalidate_caches()


def install(name: str) -> None:
    """Install the packages of a lock: with uv, or if that fails with pip, which is slower."""
    log(f"installing requirements/{name}.lock")
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check"]
    hashed = ["--require-hashes", "-r"]
    lock = str(REQUIREMENTS / f"{name}.lock")
    got_uv = succeeds([*pip, "install", "-q", *hashed, str(REQUIREMENTS / "bootstrap.lock")])
    if got_uv:
        uv = [str(PYTHON), "-m", "uv", "pip", "install", "-q", "--python", str(PYTHON)]
        if succeeds([*uv, *hashed, lock], env=uv_environment()):
            return
    log("uv failed: trying pip, which is slower")
    run(
        [*pip, "install", "-q", *hashed, lock],
        f"Neither uv nor pip could install {lock}. Is the package index reachable?",
    )


def uv_environment() -> dict[str, str]:
    """Return environment variables for uv, made from the machine's configuration of pip.

    uv itself reads neither the files nor the variables of pip. Variables of uv that are already set
    are kept.
    """
    listing = subprocess.run(
        [str(PYTHON), "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    pip = parse_pip_config(listing.stdout)
    return {**translate_pip_config(pip), **os.environ}


def parse_pip_config(listing: str) -> dict[str, str]:
    """Parse the output of `pip config list`.

    Its lines are such as `global.index-url='…'` and `:env:.index-url='…'`.
    """
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        if section in found:
            found[section][option] = str(ast.literal_eval(value))
    return {**found["global"], **found["install"], **found[":env:"]}


def translate_pip_config(pip: Mapping[str, str]) -> dict[str, str]:
    """Return pip's options as uv's environment variables."""
    uv: dict[str, str] = {}
    if "index-url" in pip:
        uv["UV_DEFAULT_INDEX"] = pip["index-url"]
    if "extra-index-url" in pip:
        uv["UV_INDEX"] = " ".join(pip["extra-index-url"].split())
        # pip searches all indexes; by default uv stops at the first one that has the package. The
        # hashes in the lock identify the file in any index.
        uv["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if "find-links" in pip:
        uv["UV_FIND_LINKS"] = ",".join(pip["find-links"].split())
    if pip.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        uv["UV_NO_INDEX"] = "1"
    if "trusted-host" in pip:
        uv["UV_INSECURE_HOST"] = " ".join(pip["trusted-host"].split())
    if "cert" in pip:
        uv["SSL_CERT_FILE"] = pip["cert"]
    if "proxy" in pip:
        uv["ALL_PROXY"] = pip["proxy"]
    if "timeout" in pip or "default-timeout" in pip:
        uv["UV_HTTP_TIMEOUT"] = pip.get("timeout", pip.get("default-timeout", ""))
    return uv


def succeeds(command: list[str], env: Mapping[str, str] | None = None) -> bool:
    return subprocess.run(command, env=env, check=False).returncode == 0


def run(command: list[str], trouble: str, env: Mapping[str, str] | None = None) -> None:
    if not succeeds(command, env):
        raise BootstrapError(trouble)


def log(text: str) -> None:
    print(f"[bootstrap] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
