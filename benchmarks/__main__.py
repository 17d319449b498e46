"""Measure ours against the usual way, in one run on this machine, and print the figures.

Everything is real and started here: an embedded Redis, a prefork worker, two Daphne processes.
The exit code is 1 where a target is not met.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import redis

from project.processes import Process, free_port
from project.redis_server import embedded_redis

from .report import Comparison

HOST = "127.0.0.1"
NODE = "worker@benchmarks"


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    calls: int  #: publishes a round
    sockets: int
    events: int  #: a round


FULL = Size(rounds=3, calls=500, sockets=200, events=100)
QUICK = Size(rounds=1, calls=100, sockets=100, events=30)


def main(arguments: list[str]) -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small round")
    size = QUICK if parser.parse_args(arguments).quick else FULL
    with TemporaryDirectory() as directory, redis_server(Path(directory)) as url:
        print("\n".join(describe(url)), flush=True)
        comparisons = []
        for compare in (publishing, delivering):
            comparison = compare(size)
            print("\n" + "\n".join(comparison.lines()), flush=True)
            comparisons.append(comparison)
    return 0 if all(comparison.is_met for comparison in comparisons) else 1


@contextmanager
def redis_server(directory: Path) -> Iterator[str]:
    """Start an empty Redis, and let this process and those that it starts use it."""
    server, url = embedded_redis(directory / "redis", keep=False)
    try:
        os.environ.update(
            DJANGO_SETTINGS_MODULE="benchmarks.settings",
            DATA_DIR=str(directory),
            REDIS_URL=url,
            CELERY_BROKER_URL=url,
            CELERY_RESULT_BACKEND=url,
            CELERY_IMPORTS="benchmarks.publish",
        )
        # Only now: the settings are read when they are imported.
        import django

        django.setup()
        yield url
    finally:
        server.kill()


def publishing(size: Size) -> Comparison:
    """Compare one publish, in a worker with one child."""
    from project.run import worker_answers, worker_command

    from . import publish

    worker = Process("worker", worker_command(NODE, 1), env=os.environ)
    with running(worker):
        worker.wait_ready(lambda: worker_answers(NODE, os.environ["REDIS_URL"]))
        return publish.compare(rounds=size.rounds, calls=size.calls)


def delivering(size: Size) -> Comparison:
    """Compare one delivery, by the project's server and by Daphne with the tutorial's app."""
    from project.run import page_answers, web_command

    from . import delivery

    ports = free_port(), free_port()
    daphne = [sys.executable, "-m", "daphne", "-b", HOST, "-p", str(ports[1])]
    ours = Process(
        "web server", web_command(), env={**os.environ, "HOST": HOST, "PORT": str(ports[0])}
    )
    tutorial = Process(
        "tutorial server", [*daphne, "benchmarks.tutorial:application"], env=os.environ
    )
    with running(ours, tutorial):
        ours.wait_ready(lambda: page_answers(HOST, ports[0]))
        tutorial.wait_ready(lambda: page_answers(HOST, ports[1]))
        return asyncio.run(
            delivery.compare(
                ours=(ports[0], ours.pid),
                tutorial=(ports[1], tutorial.pid),
                rounds=size.rounds,
                events=size.events,
                sockets=size.sockets,
            )
        )


@contextmanager
def running(*processes: Process) -> Iterator[None]:
    """Start processes, and leave none behind."""
    with ExitStack() as stack:
        for process in processes:
            stack.callback(process.kill)
            process.start()
        yield


def describe(redis_url: str) -> list[str]:
    """Say when, where and with what it is measured."""
    with redis.Redis.from_url(redis_url) as client:
        info = client.info("server")
    server = info.get("valkey_version") or info["redis_version"]
    name = "Valkey" if "valkey_version" in info else "Redis"
    packages = ("django", "channels", "channels-redis", "celery", "redis", "hiredis", "daphne")
    today = datetime.datetime.now(datetime.UTC).date()
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return [
        f"{today}, {cpu_model()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        f"Python {platform.python_version()}, {versions}, {name} {server}",
    ]


def cpu_model() -> str:
    """Return the processor's name, as Linux knows it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
