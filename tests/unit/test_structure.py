"""The structure of the code: import directions, sizes, and private names of other libraries.

Imports go one way: core ← conf ← groups, results ← store ← (worker | web) ← the rest ← project.
The server imports `core` alone.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

#: The levels of `realtime`, the lowest first. A module imports from its own folder and from lower
#: levels. All other folders and modules are on the top level.
LEVELS = [
    {"core", "exceptions"},
    {"conf", "server"},
    {"groups", "results"},
    {"store", "ownership"},
    {"worker", "web"},
]
TOP = len(LEVELS)
#: Modules of the standard library that run code concurrently or reach the network.
NOT_IN_CORE = {
    *("asyncio", "concurrent", "http", "multiprocessing", "queue", "select", "selectors", "socket"),
    *("ssl", "subprocess", "threading", "urllib"),
}

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60

#: The libraries whose private names may change with each release.
LIBRARIES = ("autobahn", "channels_redis", "daphne", "redis", "twisted")
#: The files and folders that may use private names of those libraries. Each explains what it relies
#: on, and works without it.
MAY_USE_PRIVATE_NAMES = ("realtime/groups/", "realtime/server/", "realtime/store/direct.py")
#: Names with an underscore that Python or Django document, and what Celery passes to other signals.
NOT_PRIVATE = {
    "_fields",
    "_base_manager",
    "_default_manager",
    "_meta",
    "_context",
    "_current_frames",
}


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


def folder(module: str) -> str:
    """`realtime.store.redis` → `store`; for the package itself ``."""
    return module.partition(".")[2].partition(".")[0]


def level(module: str) -> int:
    return next((i for i, folders in enumerate(LEVELS) if folder(module) in folders), TOP)


def top(module: str) -> str:
    return module.partition(".")[0]


def forbidden(imports: list[Import]) -> list[Import]:
    """The imports inside `realtime` from a higher level, or from another folder of the same one."""
    return [
        each
        for each in imports
        if top(each.imported) == "realtime"
        and folder(each.importer) != folder(each.imported)
        and level(each.imported) >= level(each.importer)
        and not level(each.imported) == level(each.importer) == TOP
        and {folder(each.importer), folder(each.imported)} != {"core", "exceptions"}
    ]


def test_inside_realtime_imports_go_down_only() -> None:
    assert forbidden(imports_of("realtime")) == []


def test_core_imports_only_the_pure_parts_of_the_standard_library() -> None:
    outside = [
        each
        for each in imports_of("realtime/core")
        if top(each.imported) != "realtime"
        and (top(each.imported) not in sys.stdlib_module_names or top(each.imported) in NOT_IN_CORE)
    ]
    assert outside == []


def test_realtime_does_not_import_the_project() -> None:
    assert [e for e in imports_of("realtime") if top(e.imported) in ("project", "tasks")] == []


def test_tasks_import_only_the_public_names_of_realtime() -> None:
    crossing = [e for e in imports_of("tasks") if top(e.imported) in ("project", "realtime")]
    assert [e for e in crossing if e.imported != "realtime"] == []
    assert crossing, "no task imports the service: the test reads the wrong folder"


def test_the_tests_do_not_import_the_benchmarks() -> None:
    assert [each for each in imports_of("tests") if top(each.imported) == "benchmarks"] == []


def test_every_folder_of_the_levels_exists() -> None:
    folders = {folder(name) for name, _, _ in modules("realtime")}
    assert set().union(*LEVELS) <= folders


@pytest.mark.parametrize(
    ("importer", "source", "is_forbidden"),
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
def test_the_rule_finds_every_way_to_import(importer: str, source: str, is_forbidden: bool) -> None:
    found = [Import(importer, name) for name in imports_in(source, importer, is_package=False)]
    assert bool(forbidden(found)) is is_forbidden


# Sizes


def files() -> list[Path]:
    return [path for package in ("realtime", "project", "tasks") for _, _, path in modules(package)]


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def functions_of(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the functions of a module with their lines, decorators too."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            yield node.name, (node.end_lineno or first) - first + 1


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_no_module_is_longer_than_its_limit() -> None:
    long = {str(path.relative_to(ROOT)): lines_of(path) for path in files()}
    assert {name: lines for name, lines in long.items() if lines > MAX_MODULE_LINES} == {}


def test_no_function_is_longer_than_its_limit() -> None:
    long = {
        f"{path.relative_to(ROOT)}: {name}": lines
        for path in files()
        for name, lines in functions_of(path)
        if lines > MAX_FUNCTION_LINES
    }
    assert long == {}


# Private names of other libraries


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in NOT_PRIVATE


def attributes_of(tree: ast.AST) -> set[str]:
    """The attributes that code reads, by name or by `getattr`."""
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("getattr", "hasattr", "setattr")
            and isinstance(name := node.args[1], ast.Constant)
        ):
            names.add(str(name.value))
    return names


def names_defined_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.attr if isinstance(node, ast.Attribute) else node.id
        elif isinstance(node, ast.alias):
            yield node.asname or node.name


@cache
def source_of(library: str) -> str:
    spec = importlib.util.find_spec(library)
    assert spec is not None
    folders = spec.submodule_search_locations or []
    paths = [path for folder in folders for path in Path(folder).rglob("*.py")]
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in paths)


def inherited_by(tree: ast.AST) -> Iterator[str]:
    """Yield the private names that subclasses of a library's classes share with that library."""
    libraries: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            libraries |= {each.asname or each.name: top(node.module) for each in node.names}
        elif isinstance(node, ast.Import):
            libraries |= {each.asname or top(each.name): top(each.name) for each in node.names}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        names = {
            node.id for base in node.bases for node in ast.walk(base) if isinstance(node, ast.Name)
        }
        own = {name for name in {*attributes_of(node), *names_defined_in(node)} if is_private(name)}
        for library in {libraries.get(name) for name in names} & set(LIBRARIES):
            yield from (name for name in own if re.search(rf"\b{name}\b", source_of(str(library))))


def private_names_in(tree: ast.AST, ours: set[str]) -> set[str]:
    """The private names of other libraries that code uses; ``ours`` are defined by this project."""
    imported = {
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and top(node.module or "") in LIBRARIES
        for part in (*str(node.module).split("."), *(each.name for each in node.names))
        if is_private(part)
    }
    used = {name for name in attributes_of(tree) - ours if is_private(name)}
    return used | imported | set(inherited_by(tree))


def test_private_names_of_libraries_are_used_in_few_places_only() -> None:
    ours = {name for path in files() for name in names_defined_in(parsed(path))}
    found = {str(path.relative_to(ROOT)): private_names_in(parsed(path), ours) for path in files()}
    assert {
        name: names
        for name, names in found.items()
        if names and not name.startswith(MAY_USE_PRIVATE_NAMES)
    } == {}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("transport._tempDataBuffer", {"_tempDataBuffer"}),
        ("getattr(transport, '_tempDataBuffer', b'')", {"_tempDataBuffer"}),
        ("from redis._parsers import _AsyncHiredisParser", {"_parsers", "_AsyncHiredisParser"}),
        (
            "import redis\nclass Mine(redis.Connection):\n    def _connect(self): pass",
            {"_connect"},
        ),
        ("import redis\nclass Mine(redis.Connection):\n    def _no_such_name(self): pass", set()),
        ("self._ours", set()),
        ("user._meta", set()),
    ],
)
def test_the_rule_finds_every_way_to_use_a_private_name(source: str, names: set[str]) -> None:
    tree = ast.parse(source)
    assert private_names_in(tree, {"_ours", *names_defined_in(tree)}) == names
