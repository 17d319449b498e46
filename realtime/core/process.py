"""The id of this process, without a system call for each use.

A forked process (a prefork child, or one that a task forks) has copies of its parent's data.
"""

from __future__ import annotations

import os
from typing import Final


class Process:
    """The running process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.pid = os.getpid()


process: Final = Process()
