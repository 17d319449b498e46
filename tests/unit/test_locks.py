"""The locks say exactly which files are meant, and nothing about where they come from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
REQUIREMENTS = ROOT / "requirements"
LOCKS = sorted(REQUIREMENTS.glob("*.lock"))
ADDRESS = re.compile(r"\w+://|--(extra-)?index-url|--find-links|--trusted-host")


def pins(path: Path) -> dict[str, str]:
    """`{"django==5.2.19": its hashes and markers}` of a lock."""
    entries = re.split(r"\n(?=\S)", path.read_text())
    return {
        match[0]: entry
        for entry in entries
        if (match := re.match(r"[A-Za-z0-9._-]+(\[[\w,-]+\])?==[^\s;]+", entry))
    }


def names(path: Path) -> set[str]:
    return {re.split(r"[=\[]", pin)[0] for pin in pins(path)}


def test_there_is_a_lock_for_each_list_of_requirements() -> None:
    assert {p.stem for p in LOCKS} == {p.stem for p in REQUIREMENTS.glob("*.in")}
    assert {p.stem for p in LOCKS} == {"bootstrap", "runtime", "dev"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_holds_no_address(lock: Path) -> None:
    assert ADDRESS.search(lock.read_text()) is None


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_pin_is_hashed(lock: Path) -> None:
    assert pins(lock)
    assert [pin for pin, entry in pins(lock).items() if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_line_is_a_pin_or_a_hash(lock: Path) -> None:
    strange = [
        line
        for line in lock.read_text().splitlines()
        if not re.match(r"[a-z0-9-]+(\[[\w,-]+\])?==\S+( ; .+)? \\$|    --hash=sha256:\w{64}", line)
    ]
    assert strange == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_everything_that_is_asked_for_is_locked(lock: Path) -> None:
    wanted = re.findall(r"^[a-z][\w-]*", lock.with_suffix(".in").read_text(), flags=re.MULTILINE)
    assert set(wanted) <= names(lock)


def test_the_tests_run_with_what_make_run_runs_with() -> None:
    assert set(pins(REQUIREMENTS / "runtime.lock")) <= set(pins(REQUIREMENTS / "dev.lock"))


def test_the_lock_of_the_javascript_tools_holds_no_address() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
    assert [name for name, entry in packages.items() if "integrity" not in entry] == []
