"""Checks after every attack: the process, its memory, a neighbour's events, and the log."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from realtime.core.change import Change
from realtime.core.jsontext import dumps
from realtime.store.redis import RedisStore
from tests.client.websocket import Client, connect
from tests.publishing import fresh_id, token_for
from tests.raw import MIB, Web, memory, web_of
from tests.until import until

#: Bytes that an attack may cost at its peak.
MEMORY = 32 * MIB
#: Seconds after which a healthy client has noticed a disturbance.
PATIENCE = 30.0
#: Seconds between two events of its task.
PACE = 0.05
#: Text in the log when something failed inside.
FAILED = ("Traceback", "frame_failed", "request_failed", "Internal Server Error")


class Neighbour:
    """A healthy client of a web process, whose task makes progress all the time."""

    def __init__(self, web: Web) -> None:
        self._web = web
        # Of its own: a test may point the settings at another Redis meanwhile.
        self._store = RedisStore()
        self._task_id = fresh_id()
        self._token = token_for(web, f"task:{self._task_id}")
        self._publish("STARTED", 0)
        self._over = threading.Event()
        self._ready = threading.Event()
        self._received = 0
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    @contextmanager
    def living(self) -> Iterator[Neighbour]:
        """Connect, and go on until the end."""
        self._thread.start()
        try:
            self._ready.wait()
            yield self
        finally:
            self._over.set()
            self._thread.join()
        assert self._error is None, f"the neighbour was disturbed: {self._error!r}"

    @contextmanager
    def notices_nothing(self) -> Iterator[None]:
        """Check that it receives each event once and in order, during the block and after it."""
        yield
        received = self._received
        until(lambda: self._received > received or self._error, PATIENCE)
        assert self._error is None, f"the neighbour was disturbed: {self._error!r}"
        assert self._received > received, "the neighbour receives nothing any more"

    def _publish(self, state: str, current: int) -> None:
        progress = dumps({"current": current, "total": None, "message": None})
        assert self._store.accept(
            Change(task_id=self._task_id, state=state, fields={"progress": progress})
        )

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            self._error = error
        finally:
            self._ready.set()

    async def _live(self) -> None:
        async with connect(self._web) as client:
            answer = await client.subscribe(f"task:{self._task_id}", token=self._token)
            offset = answer["offset"]
            self._ready.set()
            while not self._over.is_set():
                offset += 1
                await self._receive_one(client, offset)
                await asyncio.sleep(PACE)
            assert await client.has_nothing()

    async def _receive_one(self, client: Client, offset: int) -> None:
        await asyncio.to_thread(self._publish, "PROGRESS", offset)
        event = await client.event()
        assert (event["type"], event["offset"]) == ("event", offset), event
        self._received += 1


@contextmanager
def unhurt(web: Web, neighbour: Neighbour) -> Iterator[None]:
    """Check that the block does a web process no harm."""
    pid = web.process.pid
    logged = failures(web)
    # The kernel measures the peak of its memory from here on (proc(5), clear_refs).
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before = memory(web.process)
    with neighbour.notices_nothing():
        yield
    assert web.process.returncode is None, web.process.describe_end()
    assert web.process.pid == pid
    grown = memory(web.process, "VmHWM") - before
    assert grown <= MEMORY, f"+{grown / MIB:.1f} MiB"
    assert failures(web) == logged, web.process.log()[-5000:]


def failures(web: Web) -> dict[str, int]:
    log = web.process.log()
    return {word: log.count(word) for word in FAILED}


@pytest.fixture(scope="module")
def neighbour(service: Any) -> Iterator[Neighbour]:
    """A client of the session's service."""
    with Neighbour(web_of(service)).living() as living:
        yield living


@pytest.fixture(autouse=True)
def _unhurt(service: Any, neighbour: Neighbour) -> Iterator[None]:
    """Watch over the session's service."""
    with unhurt(web_of(service), neighbour):
        yield


@pytest.fixture
def start_web(start_web: Callable[..., Web]) -> Iterator[Callable[..., Web]]:
    """Start a web process, as everywhere, and watch over it.

    Its neighbour is one of its connections, and one of their address.
    """
    with ExitStack() as stack:

        def start(command: list[str] | None = None, **settings: Any) -> Web:
            web = start_web(command, **settings)
            living = stack.enter_context(Neighbour(web).living())
            stack.enter_context(unhurt(web, living))
            return web

        yield start
