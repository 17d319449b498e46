"""Who may import whom: core ← conf ← store ← (worker | web) ← everything else ← project."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

#: The storeys of `realtime`, from the ground up. A module imports from its own room or from
#: below; a room that is not named here is on the top storey.
STOREYS = [
    {"core", "exceptions"},
    {"conf"},
    {"groups", "results"},
    {"store", "ownership"},
    {"worker", "web"},
    {"server"},
]
TOP = len(STOREYS)


class Import(NamedTuple):
    """One import in a file: `realtime.store.redis` imports `realtime.core.status`."""

    importer: str
    imported: str


def modules(package: str) -> Iterator[tuple[str, bool, Path]]:
    """The dotted names of a package's modules, whether each is itself a package, and its file."""
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        yield ".".join(parts[:-1] if is_package else parts), is_package, path


def imports_of(package: str) -> list[Import]:
    """All imports of a package, those inside functions too."""
    return [
        Import(name, imported)
        for name, is_package, path in modules(package)
        for imported in imports_in(path.read_text(encoding="utf-8"), name, is_package)
    ]


def imports_in(source: str, name: str, is_package: bool) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = name.split(".")
                above = above[: len(above) + is_package - node.level]
                base = ".".join([*above, *base.split(".")] if base else above)
            # `from realtime import worker` imports a module as `import realtime.worker` does.
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if is_module(full) else base


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def room(module: str) -> str:
    """`realtime.store.redis` → `store`; the package itself is the room ``."""
    return module.partition(".")[2].partition(".")[0]


def storey(module: str) -> int:
    return next((i for i, rooms in enumerate(STOREYS) if room(module) in rooms), TOP)


def top(module: str) -> str:
    return module.partition(".")[0]


def crooked(imports: list[Import]) -> list[Import]:
    """The imports inside `realtime` that go up, or across a storey."""
    return [
        each
        for each in imports
        if top(each.imported) == "realtime"
        and room(each.importer) != room(each.imported)
        and storey(each.imported) >= storey(each.importer)
        and not storey(each.imported) == storey(each.importer) == TOP
        and {room(each.importer), room(each.imported)} != {"core", "exceptions"}
    ]


def test_inside_realtime_imports_go_down_only() -> None:
    assert crooked(imports_of("realtime")) == []


def test_core_imports_nothing_from_outside_the_standard_library() -> None:
    outside = [
        each
        for each in imports_of("realtime/core")
        if top(each.imported) != "realtime" and top(each.imported) not in sys.stdlib_module_names
    ]
    assert outside == []


def test_the_reusable_app_does_not_know_the_project_around_it() -> None:
    assert [e for e in imports_of("realtime") if top(e.imported) in ("project", "tasks")] == []


def test_tasks_import_only_the_public_names_of_realtime() -> None:
    crossing = [e for e in imports_of("tasks") if top(e.imported) in ("project", "realtime")]
    assert [e for e in crossing if e.imported != "realtime"] == []
    assert crossing, "no task uses the service: is this test looking in the right place?"


def test_there_is_something_to_hold() -> None:
    rooms = {room(name) for name, _, _ in modules("realtime")}
    assert set().union(*STOREYS) <= rooms


@pytest.mark.parametrize(
    ("importer", "source", "is_crooked"),
    [
        ("realtime.core.status", "from realtime.conf import conf", True),
        ("realtime.core.status", "def late():\n    import realtime.store", True),
        ("realtime.store.redis", "from ..worker import publisher", True),
        ("realtime.web.hub", "from realtime import worker", True),
        ("realtime.worker.signals", "import realtime.web.hub", True),
        ("realtime.worker.signals", "from realtime import set_progress", True),
        ("realtime.worker.signals", "from realtime.store.base import Store", False),
        ("realtime.worker.signals", "from .publisher import publisher", False),
        ("realtime.urls", "from .web import views", False),
    ],
)
def test_these_rules_see_every_way_to_import(importer: str, source: str, is_crooked: bool) -> None:
    found = [Import(importer, name) for name in imports_in(source, importer, is_package=False)]
    assert bool(crooked(found)) is is_crooked
