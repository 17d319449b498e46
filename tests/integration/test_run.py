"""`make run`: one command starts the service, and nothing of it is left when it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from project.processes import ROOT, free_port
from tests.until import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

START = 120.0  #: seconds; a busy machine takes long
STOP = 60.0  #: seconds
#: The bootstrap is left out: no test changes the environment that it runs in.
MAKE_RUN = ["make", "--no-print-directory", "run", "PYTHON=:", f"VENV={sys.executable}"]
SERVER = "-server 127.0.0.1:"  #: what Valkey and Redis call their process


class Run:
    """A `make run` with a folder of its own, on a free port."""

    def __init__(self, data_dir: Path, **env: str) -> None:
        self.data_dir = data_dir
        self.output = data_dir / "output"
        data_dir.mkdir()
        inherited = {k: v for k, v in os.environ.items() if k not in ("REDIS_URL", "MAKEFLAGS")}
        settings = {"DATA_DIR": str(data_dir), "PORT": "0", "WORKERS": "1", **env}
        with self.output.open("w") as output:
            # A session of its own, so that a test finds all that came of it.
            self.child = subprocess.Popen(
                MAKE_RUN,
                cwd=ROOT,
                env={**inherited, **settings},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match in its output; fails when it ends before, or after START seconds."""
        found = until(lambda: re.search(pattern, self.text) or self.child.poll() is not None, START)
        match = re.search(pattern, self.text)
        assert match, f"waited for {pattern!r} ({found=}), output:\n{self.text}"
        return match

    def wait_ready(self) -> str:
        """Its address, once it prints it."""
        return self.wait_for(r"ready: (\S+)")[1]

    def supervisor(self) -> int:
        """The process under make that started all others."""
        lines = processes_of(self).items()
        return next(pid for pid, line in lines if line.endswith("project.run --with-parent "))

    def wait_end(self) -> int:
        return self.child.wait(STOP)


def processes_of(run: Run) -> dict[int, str]:
    return processes_in(run.data_dir)


def processes_in(data_dir: Path) -> dict[int, str]:
    """All living processes of the run in this folder, and their commands.

    Its DATA_DIR is in their environment; the Redis server writes its title over that, and
    works in a folder inside.
    """
    mark = f"DATA_DIR={data_dir}".encode()
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            inside = (folder / "cwd").readlink().is_relative_to(data_dir)
            if inside or mark in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(folder.name)] = command.decode(errors="replace")
        except OSError:
            continue  # it ended just now, or is another user's
    return found


def assert_nothing_left(run: Run) -> None:
    until(lambda: not processes_of(run), STOP)
    assert processes_of(run) == {}


@pytest.fixture
def start_run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    started: list[Run] = []

    def start(**env: str) -> Run:
        started.append(Run(tmp_path / f"data{len(started)}", **env))
        return started[-1]

    yield start
    for run in started:
        for pid in processes_of(run):
            os.kill(pid, signal.SIGKILL)
        run.child.wait(STOP)


def get(url: str) -> int:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own address
        status: int = answer.status
        return status


def test_it_starts_answers_and_ends_on_sigterm(start_run: Callable[..., Run]) -> None:
    run = start_run()
    address = run.wait_ready()

    assert get(address) == 200
    commands = " ".join(processes_of(run).values())
    assert all(part in commands for part in (SERVER, "celery", "project.web"))
    prefixes = {line.split(" |")[0].strip() for line in run.text.splitlines() if " |" in line}
    assert {"redis", "worker", "run"} <= prefixes
    assert "\x1b[" not in run.text, "colours are for terminals"

    os.kill(run.supervisor(), signal.SIGTERM)
    assert run.wait_end() == 0
    assert_nothing_left(run)
    assert not (run.data_dir / "redis_url").exists()


def test_ctrl_c_ends_everything(start_run: Callable[..., Run]) -> None:
    run = start_run()
    run.wait_ready()

    # A terminal sends it to the whole foreground group: to make and the supervisor.
    os.killpg(run.child.pid, signal.SIGINT)
    run.wait_end()
    assert_nothing_left(run)
    assert "stopped" in run.text


@pytest.mark.parametrize("killed", ["make", "supervisor"])
def test_killed_outright_it_leaves_nothing_behind(
    start_run: Callable[..., Run], killed: str
) -> None:
    run = start_run()
    run.wait_ready()

    os.kill(run.child.pid if killed == "make" else run.supervisor(), signal.SIGKILL)
    run.wait_end()
    assert_nothing_left(run)


def test_ending_it_while_it_starts_leaves_nothing_behind(start_run: Callable[..., Run]) -> None:
    run = start_run()
    until(lambda: any("celery" in line for line in processes_of(run).values()), START)

    os.kill(run.supervisor(), signal.SIGTERM)
    assert run.wait_end() == 0
    assert_nothing_left(run)
    assert "ready" not in re.sub(r"(redis|worker|web) .*", "", run.text)


@pytest.mark.parametrize("victim", ["redis", "worker", "web"])
def test_when_a_part_dies_all_end_and_the_output_names_it(
    start_run: Callable[..., Run], victim: str
) -> None:
    run = start_run()
    run.wait_ready()

    marks = {"redis": SERVER, "worker": "celery", "web": "project.web"}
    # The lowest pid: a worker's children have its command line too.
    pid = min(pid for pid, line in processes_of(run).items() if marks[victim] in line)
    os.kill(pid, signal.SIGKILL)

    assert run.wait_end() != 0
    assert f"the {victim} was ended by SIGKILL" in run.text
    assert_nothing_left(run)


def test_it_ends_when_its_output_is_closed(tmp_path: Path) -> None:
    # As `make run | head -1` does.
    env = {**os.environ, "DATA_DIR": str(tmp_path), "PORT": "0", "WORKERS": "1"}
    with subprocess.Popen(
        MAKE_RUN, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.stdout.close()
        try:
            child.wait(START)
        finally:
            child.kill()
    assert until(lambda: not processes_in(tmp_path), STOP)


def test_a_used_port_is_named_with_the_remedy(start_run: Callable[..., Run]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        run = start_run(PORT=str(port))
        assert run.wait_end() != 0
    assert f"Port {port} on 127.0.0.1 is used" in run.text
    assert f"make run PORT={port + 1}" in run.text
    assert "Traceback" not in run.text


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"PORT": "http"}, "PORT=http: must be a whole number from 0 to 65535"),
        ({"PORT": "70000"}, "PORT=70000: must be a whole number from 0 to 65535"),
        ({"WORKERS": "0"}, "WORKERS=0: must be a whole number from 1 to"),
        ({"HOST": "192.0.2.1"}, "HOST=192.0.2.1 is not an address of this machine"),
        ({"REDIS_URL": "redis://:hush@127.0.0.1:1/0"}, "redis://:…@127.0.0.1:1/0 does not answer"),
        ({"REDIS_URL": "127.0.0.1:6379"}, "REDIS_URL=127.0.0.1:6379 does not answer"),
    ],
)
def test_a_setting_that_cannot_work_is_named(
    start_run: Callable[..., Run], env: dict[str, str], message: str
) -> None:
    run = start_run(**env)
    assert run.wait_end() != 0
    assert message in run.text
    assert "Traceback" not in run.text
    assert "hush" not in run.text


def test_a_given_redis_is_used_and_none_is_started(
    start_run: Callable[..., Run], clean_redis: str
) -> None:
    run = start_run(REDIS_URL=clean_redis)
    run.wait_ready()

    with redis.Redis.from_url(clean_redis) as client:
        assert client.exists("_kombu.binding.celery"), "the worker's queue is there"
    assert not any(SERVER in line for line in processes_of(run).values())


def test_two_of_them_never_share_a_folder(start_run: Callable[..., Run], tmp_path: Path) -> None:
    first = start_run()
    first.wait_for(r"redis  \|")
    second = start_run(DATA_DIR=str(first.data_dir), PORT=str(free_port()))

    assert second.wait_end() != 0
    assert f"Another `make run` uses {first.data_dir}" in second.text
