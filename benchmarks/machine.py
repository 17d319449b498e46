"""The machine (Linux only): which process runs on which core, and the CPU time that it uses."""

from __future__ import annotations

import datetime
import gc
import os
import platform
import re
import resource
import subprocess
import time
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import redis

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    *("django", "channels", "channels-redis", "celery", "redis", "hiredis", "daphne"),
    *("uvicorn", "uvloop", "python-socketio", "django-eventstream", "celery-progress"),
    "websockets",
)
#: The most file descriptors of one process, and so the most sockets.
FILES = 20_000
#: The longest time in seconds to wait until a process sleeps, before its CPU time is read.
SETTLING = 0.5
#: The measured server and the load have separate cores; on a machine with one core they share it.
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORES = CORES[:1]
LOAD_CORES = CORES[1:] or CORES


def prepare() -> None:
    """Prepare this process to be the load: on its own cores, and with enough file descriptors."""
    os.sched_setaffinity(0, LOAD_CORES)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    gc.disable()


def cpu_time(pids: Iterable[int]) -> float:
    """Return the CPU time in µs that processes have used, in all their threads.

    Waits until each process sleeps, for half a second at most.
    """
    return sum(_cpu_time(pid) for pid in pids) / 1000


def _cpu_time(pid: int) -> int:
    # Read from another process, this clock lacks a thread's time since the last tick (4 ms),
    # unless the thread sleeps or is stopped.
    until = time.monotonic() + SETTLING
    while state(pid) == "R" and time.monotonic() < until:
        time.sleep(0.0002)
    # The process' own clock (clock_getcpuclockid(3)). /proc counts in ticks of 10 ms.
    return time.clock_gettime_ns((~pid << 3) | 2)


def memory(pids: Iterable[int]) -> float:
    """Return the memory of processes (RSS) in KiB, without the kernel's socket buffers."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(float(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) for text in texts)


def stolen() -> Callable[[], float]:
    """Begin to count; return a function for the share of CPU time that the host gave to others."""
    taken, total = _ticks()

    def since() -> float:
        now_taken, now_total = _ticks()
        return (now_taken - taken) / max(1, now_total - total)

    return since


def _ticks() -> tuple[int, int]:
    # proc(5): user nice system idle iowait irq softirq steal. The later fields (guest time) are
    # included in user and nice.
    ticks = [int(text) for text in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]]
    return ticks[7], sum(ticks)


def state(pid: int) -> str:
    """Return the state of a process as one letter: "R" runs, "T" is stopped (proc(5))."""
    # The name, in parentheses, may contain any character.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def rest(pids: Iterable[int], *, timeout: float = 60.0) -> None:
    """Wait until processes are idle: under 5 % of a core for 0.2 s. Give up after `timeout` s."""
    pids = list(pids)
    deadline = time.monotonic() + timeout
    while True:
        before = cpu_time(pids)
        time.sleep(0.2)
        if cpu_time(pids) - before < 10_000 or time.monotonic() > deadline:
            return


def describe(redis_url: str) -> dict[str, Any]:
    """Return the present time, the machine and the versions of the libraries."""
    with redis.Redis.from_url(redis_url) as client:
        info = client.info("server")
    name = "valkey" if "valkey_version" in info else "redis"
    versions = {"python": platform.python_version(), f"{name}-server": info[f"{name}_version"]}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        # To the minute: works with equal times were measured in one run.
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "cpu": _cpu_model(),
        "cores": len(CORES),
        "kernel": platform.release(),
        "load": round(os.getloadavg()[0], 1),
        "commit": _commit(),
        "versions": versions,
    }


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "--short", "HEAD")
        return f"{commit}, changed" if commit and git("status", "--porcelain") else commit
    except FileNotFoundError:
        return ""
