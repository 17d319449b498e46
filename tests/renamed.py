"""Import a library with one of its names changed everywhere, as a later release may change it.

    rename("autobahn", "_dataReceived", "_data_received")

The library itself goes on to work; only what relies on the old name does not. To be called before
the library is imported.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, old: str, new: str) -> None:
        super().__init__(name, path)
        self._old, self._new = old, new

    def get_code(self, fullname: str) -> CodeType:
        text = Path(self.path).read_text()
        return compile(re.sub(rf"\b{self._old}\b", self._new, text), self.path, "exec")


class _Finder(MetaPathFinder):
    def __init__(self, library: str, old: str, new: str) -> None:
        self._library, self._old, self._new = library, old, new

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] != self._library:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin and spec.origin.endswith(".py"):
            spec.loader = _Loader(name, spec.origin, self._old, self._new)
        return spec


def rename(library: str, old: str, new: str) -> None:
    """Change a name in all modules of a library that are imported from now on."""
    assert library not in sys.modules, f"{library} is already imported"
    sys.meta_path.insert(0, _Finder(library, old, new))
