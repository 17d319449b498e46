"""Which process this is, without a system call for each question.

A prefork child, and a process that a task forks, begin with copies of what their parent keeps.
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
