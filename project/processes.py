"""Child processes whose output is recorded, and which end with the process that started them."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = Path(__file__).with_name("launch.py")

#: Lines of a child's output that are kept in memory.
KEPT_LINES = 10_000
#: Lines of the output that an error shows.
SHOWN_LINES = 20

# Linux ends a child when the *thread* that started it ends. So one thread, which lives as long as
# this process, starts all children.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")


class ProcessError(Exception):
    """A child ended or did not become ready; the text names it and shows the end of its output."""


def lock_environment() -> None:
    """Lock `.venv` until this process ends, so that `scripts/bootstrap.py` does not replace it."""
    # Never closed: the kernel releases the lock, however the process ends.
    fcntl.flock(os.open(sys.prefix, os.O_RDONLY), fcntl.LOCK_SH)


class Process:
    """One program in a process group of its own, and its output.

    A thread calls `on_line(name, line)` for each line of the output.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        on_line: Callable[[str, str], None] | None = None,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.env = dict(env)
        self._on_line = on_line
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._child: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its group."""
        return self._started().pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative if a signal ended it; None while it runs."""
        return self._started().poll()

    def log(self) -> str:
        """Return the newest 10,000 lines of the output, of all starts."""
        return "\n".join(self._lines)

    def start(self) -> None:
        self._child = _starter.submit(self._spawn).result()
        self._reader = threading.Thread(target=self._read, args=(self._child,), daemon=True)
        self._reader.start()

    def wait_ready(self, ready: Callable[[], bool], *, timeout: float = 120.0) -> None:
        """Wait until `ready()` is true.

        Raises ProcessError if the child ends before that, or after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            if self.returncode is not None:
                raise ProcessError(f"{self.describe_end()}. Its last lines:\n{self._tail()}")
            if time.monotonic() > deadline:
                raise ProcessError(
                    f"the {self.name} was not ready within {timeout:g} s. "
                    f"Its last lines:\n{self._tail()}"
                )
            time.sleep(0.02)

    def describe_end(self) -> str:
        """Return a clause that names the program and how it ended."""
        code = self.returncode
        if code is not None and code < 0:
            return f"the {self.name} was ended by {signal.Signals(-code).name}"
        return f"the {self.name} ended with exit code {code}"

    def stop(self, *, timeout: float = 10.0) -> None:
        """Send SIGTERM and wait up to `timeout` seconds; then kill what is left of the group."""
        child = self._child
        if child is not None and child.poll() is None:
            # Only to the program: a Celery worker ends its children itself, in order.
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(timeout)
        self.kill()

    def kill(self) -> None:
        """Kill the program and its group (SIGKILL), and wait for its end.

        Does nothing if the program was never started.
        """
        child = self._child
        if child is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if self._reader is not None:
            self._reader.join(timeout=5)

    def restart(self) -> None:
        """Stop the program if it runs, and start it again with the same command."""
        self.stop()
        self.start()

    def _started(self) -> subprocess.Popen[str]:
        if self._child is None:
            raise ProcessError(f"the {self.name} was not started")
        return self._child

    def _spawn(self) -> subprocess.Popen[str]:
        # -I -S: without the environment, which the launcher does not need, it starts faster.
        launcher = [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid())]
        return subprocess.Popen(
            [*launcher, *self.command],
            cwd=ROOT,
            env={**self.env, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            # A group of its own: Ctrl-C reaches only the parent, which stops its children in order.
            process_group=0,
        )

    def _read(self, child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        with child.stdout as output:
            for line in output:
                self._lines.append(line.rstrip("\n"))
                if self._on_line is not None:
                    self._on_line(self.name, self._lines[-1])

    def _tail(self) -> str:
        if self._reader is not None and self.returncode is not None:
            self._reader.join(timeout=1)
        return "\n".join(f"    {line}" for line in list(self._lines)[-SHOWN_LINES:])


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port on which no program listens now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
