"""Child processes are watched, and none outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from project.processes import ROOT, Process, ProcessError
from tests.until import until

pytestmark = pytest.mark.integration


def alive(pid: int) -> bool:
    """Whether the process is there and is not only waiting to be counted as ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.fixture
def start() -> Iterator[Callable[[str], Process]]:
    """Start a Python program."""
    started: list[Process] = []

    def start_program(source: str) -> Process:
        command = [sys.executable, "-c", textwrap.dedent(source)]
        started.append(Process("program", command, env=os.environ))
        started[-1].start()
        return started[-1]

    yield start_program
    for process in started:
        process.kill()


def test_a_process_that_dies_before_it_is_ready_shows_its_last_lines(
    start: Callable[[str], Process],
) -> None:
    program = start("import sys; print('the cause'); sys.exit(3)")
    with pytest.raises(ProcessError, match=r"(?s)program ended with exit code 3.*the cause"):
        program.wait_ready(lambda: False)


def test_one_that_is_not_ready_in_time_is_named(start: Callable[[str], Process]) -> None:
    program = start("import signal; print('thinking', flush=True); signal.pause()")
    assert until(lambda: "thinking" in program.log())
    with pytest.raises(ProcessError, match=r"(?s)not ready within 0\.1 s.*thinking"):
        program.wait_ready(lambda: False, timeout=0.1)


def test_stopping_is_orderly_first(start: Callable[[str], Process]) -> None:
    program = start(
        """
        import signal, sys
        def end(*_): print("in order", flush=True); sys.exit(0)
        signal.signal(signal.SIGTERM, end)
        print("ready", flush=True)
        while True: signal.pause()
        """
    )
    program.wait_ready(lambda: "ready" in program.log())
    program.stop()
    assert program.returncode == 0
    assert program.log() == "ready\nin order"


def test_one_that_does_not_listen_is_stopped_by_force_with_its_children(
    start: Callable[[str], Process],
) -> None:
    program = start(
        """
        import os, signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = os.fork()
        if child: print(child, flush=True)
        while True: signal.pause()
        """
    )
    program.wait_ready(lambda: program.log().isdecimal())
    program.stop(timeout=0.1)
    assert program.returncode == -signal.SIGKILL
    assert until(lambda: not alive(int(program.log())))


def test_one_started_by_a_thread_outlives_the_thread(start: Callable[[str], Process]) -> None:
    started: list[Process] = []

    def begin() -> None:
        started.append(start("import signal; print('ready', flush=True); signal.pause()"))
        started[0].wait_ready(lambda: "ready" in started[0].log())

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    # Linux would have ended it together with the thread.
    with pytest.raises(ProcessError, match="not ready"):
        started[0].wait_ready(lambda: False, timeout=0.5)
    assert started[0].returncode is None


def test_it_ends_when_its_parent_is_killed() -> None:
    source = """
        import os, sys, signal
        from project.processes import Process
        child = Process("child", [sys.executable, "-c", "import signal; signal.pause()"],
                        env=os.environ)
        child.start()
        print(child.pid, flush=True)
        signal.pause()
        """
    command = [sys.executable, "-c", textwrap.dedent(source)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
    assert until(lambda: not alive(child))


def test_the_busy_children_of_a_killed_worker_end_with_it(
    start_service: Callable[..., object],
) -> None:
    from tasks.imports import import_csv

    service = start_service(WORKERS="2")
    worker: Process = service.worker  # type: ignore[attr-defined]
    running = import_csv.delay(str(ROOT / "samples" / "timezones.csv"), pace=2.0)
    assert until(lambda: running.state in ("STARTED", "PROGRESS")), worker.log()
    children = children_of(worker.pid)
    assert len(children) == 2

    # The worker alone, not its group.
    os.kill(worker.pid, signal.SIGKILL)

    assert until(lambda: not any(map(alive, children)))


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
