"""Print when waiting progress is sent while native code runs.

Run it as `python -m tests.field.native_figures`.

Each code is called right after progress that has to wait for its turn, which comes 0.1 s later
(1/PROGRESS_RATE). Only native code that does not release the interpreter delays it.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import random
import re
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    numbers = [random.random() for _ in range(2_000_000)]
    text, block = "a" * 23, bytes(10**9)
    codes: dict[str, Callable[[], Any]] = {
        "Python code": _count,
        "time.sleep": lambda: time.sleep(2),
        "hashlib.sha256 of 1 GB": lambda: hashlib.sha256(block),
        "re.match that backtracks": lambda: re.match(r"(a|a)*b", text),
        "list.sort of 2,000,000 numbers": numbers.sort,
        "ctypes.PyDLL(None).usleep": lambda: ctypes.PyDLL(None).usleep(2_000_000),
    }
    for name, code in codes.items():
        ran, sent = measure(code)
        print(f"{name}: ran for {ran:.2f} s, the progress was sent after {sent:.2f} s")


def measure(code: Callable[[], Any]) -> tuple[float, float]:
    """Run a code after a report that must wait; return its seconds, and those until it was sent."""
    from realtime.worker import runs

    sent: list[float] = []

    def send(_change: Any) -> Any:
        sent.append(time.monotonic())
        return SimpleNamespace(seen=True)

    publisher, runs.publisher = runs.publisher, SimpleNamespace(send=send)  # type: ignore[assignment]
    try:
        run = runs.Run(SimpleNamespace(id="native", retries=0), {}, {})
        run.report("PROGRESS", "1")
        run.report("PROGRESS", "2")
        began = time.monotonic()
        code()
        ran = time.monotonic() - began
        while len(sent) < 2:
            time.sleep(0.001)
    finally:
        runs.publisher = publisher
    return ran, sent[1] - began


def _count() -> None:
    until = time.monotonic() + 2
    while time.monotonic() < until:
        sum(range(1000))


if __name__ == "__main__":
    main()
