"""The locks name exact files, and no address of an index."""

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
    assert {p.stem for p in LOCKS} == {"bootstrap", "runtime", "dev", "bench", "audit"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_contains_no_address(lock: Path) -> None:
    assert ADDRESS.search(lock.read_text()) is None


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_pin_is_hashed(lock: Path) -> None:
    assert pins(lock)
    assert [pin for pin, entry in pins(lock).items() if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_line_is_a_pin_or_a_hash(lock: Path) -> None:
    others = [
        line
        for line in lock.read_text().splitlines()
        if not re.match(r"[a-z0-9-]+(\[[\w,-]+\])?==\S+( ; .+)? \\$|    --hash=sha256:\w{64}", line)
    ]
    assert others == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_requirement_is_locked(lock: Path) -> None:
    wanted = re.findall(r"^[a-z][\w-]*", lock.with_suffix(".in").read_text(), flags=re.MULTILINE)
    assert set(wanted) <= names(lock)


def test_the_tests_have_the_versions_of_make_run() -> None:
    assert set(pins(REQUIREMENTS / "runtime.lock")) <= set(pins(REQUIREMENTS / "dev.lock"))


def test_the_benchmarks_have_the_versions_of_make_run() -> None:
    assert set(pins(REQUIREMENTS / "runtime.lock")) <= set(pins(REQUIREMENTS / "bench.lock"))


def test_the_tests_and_the_benchmarks_fit_into_one_venv() -> None:
    dev, bench = pins(REQUIREMENTS / "dev.lock"), pins(REQUIREMENTS / "bench.lock")
    both = names(REQUIREMENTS / "dev.lock") & names(REQUIREMENTS / "bench.lock")
    apart = {pin for pin in set(dev) ^ set(bench) if re.split(r"[=\[]", pin)[0] in both}
    assert apart == set()


def test_the_lock_of_the_javascript_tools_contains_no_address() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
    assert [name for name, entry in packages.items() if "integrity" not in entry] == []


#: The first release without a known vulnerability that matters here, and the reason.
FLOORS = {
    "daphne": ("4.2.3", "CVE-2026-44545, CVE-2026-44546 before 4.2.2; 4.2.3 is tested"),
}


def test_no_release_with_a_known_vulnerability_is_allowed() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    for name, (floor, why) in FLOORS.items():
        assert re.search(rf'"{name}>={re.escape(floor)}["<,]', pyproject), why
        (pin,) = [pin for pin in pins(REQUIREMENTS / "runtime.lock") if pin.startswith(f"{name}==")]
        assert version(pin.partition("==")[2]) >= version(floor), why


def version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))
