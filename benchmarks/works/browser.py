"""The time from the call in a worker's task to the callback in Chromium, with load on the server.

The load is events of another task to 100 sockets of the same server: as many events as make the
server use the given part of a core. A round with less than four fifths of that load does not count.

Ways that poll have no sockets, and so no load. A poll may skip events: the page has seen an event
when it receives the first status that is not older.
"""

from __future__ import annotations

import os
import shutil
import time
from bisect import bisect_left
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from importlib.resources import files
from typing import Any, Self

from benchmarks import machine, peers
from benchmarks.peers import Missing, Peer, Server, peer_named
from benchmarks.report import Table
from benchmarks.sockets import Sockets
from benchmarks.stage import Stage
from tests.percentile import percentile

from .delivery import Crowd

NAME = "browser"
LOADS = (1, 10, 50)
#: The part of the load that a round must reach.
REACHED = 0.8
CROWD = 100
EVENTS = 30
GAP = 0.05  # seconds between two events
#: The most seconds until the page has seen the last event.
TAIL = 3.0
DEADLINE = 60.0
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ("--disable-gpu", "--no-first-run", "--disable-background-networking")

_SEEN = """
    window.seen = [];
    const see = message => {
        const at = (performance.timeOrigin + performance.now()) / 1000;
        if (message) window.seen.push([message, at]);
    };
"""
#: By way: the address of its page, its scripts, and the code that subscribes to a task.
SUBSCRIBE: dict[str, tuple[str, tuple[str, ...], str]] = {
    peers.REALTIME: (
        "/realtime/healthz",
        (),
        """const { connect } = await import("/static/realtime/client.js");
        connect().task(id).onProgress(progress => see(progress.message));""",
    ),
    peers.TUTORIAL: (
        "/result/none/",
        (),
        """const socket = new WebSocket(`ws://${location.host}/pubsub/${id}/`);
        socket.onmessage = event => see(JSON.parse(event.data).progress.message);
        await new Promise(opened => socket.onopen = opened);""",
    ),
    peers.PROGRESS: (
        "/result/none/",
        ("celery_progress.js", "websockets.js"),
        """CeleryWebSocketProgressBar.initProgressBar(
            `/ws/progress/${id}/`,
            { onProgress: (bar, text, progress) => see(progress.description) });""",
    ),
    peers.POLLED: (
        "/result/none/",
        ("celery_progress.js",),
        """CeleryProgressBar.initProgressBar(
            `/celery-progress/${id}/`,
            { onProgress: (bar, text, progress) => see(progress.description) });""",
    ),
    peers.RESULT: (
        "/result/none/",
        (),
        """setInterval(async () => {
            const { info } = await (await fetch(`/result/${id}/`)).json();
            see(info?.message);
        }, 1000);""",
    ),
}
#: The ways that poll: measured once, without load.
POLLING = (peers.POLLED, peers.RESULT)
LEFT_OUT = {
    **dict.fromkeys((peers.CORE, peers.UVICORN), "to save time; its page is the tutorial's"),
    peers.SOCKET_IO: "its package does not contain its JavaScript",
    peers.EVENTSTREAM: "to save time",
    **dict.fromkeys((peers.BARE, peers.BROADCAST, peers.NCHAN), "a floor has no page"),
}


def run(stage: Stage) -> Table:
    """Measure every way at every load. The ways take turns, round by round."""
    table = Table(
        NAME,
        "From a worker to the callback in Chromium",
        ("reached %", "p50 ms", "p99 ms"),
        cases="load %",
        missing=dict(LEFT_OUT),
    )
    try:
        browser_path = _find()
    except Missing as missing:
        table.missing["all ways"] = str(missing)
        return table
    servers = stage.serve_all([peer_named(way) for way in SUBSCRIBE], table)
    for way in ("realtime", "peer"):
        stage.worker(way, f"browser-{way}")
    with closing(Sockets()) as sockets, Chromium(browser_path) as browser:
        crowds = {
            peer: Crowd(sockets, peer, server, CROWD, stage)
            for peer, server in servers.items()
            if peer.name not in POLLING
        }
        for load in LOADS:
            for _ in range(stage.size.rounds):
                for peer, server in servers.items():
                    if peer.name in POLLING and load != LOADS[0]:
                        continue
                    reached, delays = _delays(
                        stage, browser, sockets, peer, server, crowds.get(peer), load / 100
                    )
                    figures = [1000 * percentile(delays, part) for part in (0.5, 0.99)]
                    if peer.name in POLLING:
                        table.add(peer.name, [None, *figures], "none")
                    elif reached < REACHED * load / 100:
                        why = f"its server reached {100 * reached:.1f} %"
                        table.missing[f"{peer.name}, a round at {load} %"] = why
                    else:
                        table.add(peer.name, [100 * reached, *figures], load)
    return table


def _delays(
    stage: Stage,
    browser: Chromium,
    sockets: Sockets,
    peer: Peer,
    server: Server,
    crowd: Crowd | None,
    load: float,
) -> tuple[float, list[float]]:
    """Return the share of a core that the server used, and the delay of each event in seconds."""
    from benchmarks.tasks import pace

    ident = peer.ident()
    browser.open(peer.name, f"http://127.0.0.1:{server.port}", ident, stage.session)
    try:
        # The task must not publish in step with the polls.
        gap = 0.11 if peer.name in POLLING else GAP
        arguments = (peer.name, ident, EVENTS, gap)
        result = pace.apply_async(arguments, queue=f"browser-{peer.way}")
        reached = _work(sockets, server, crowd, load, result.ready)
        published = result.get(timeout=DEADLINE)
        until = time.monotonic() + TAIL
        while not (seen := browser.seen()) or seen[-1][0] < published[-1][0]:
            if time.monotonic() > until:
                raise RuntimeError(f"{peer.name}: the page has seen no event after {seen[-1:]}")
            sockets.idle(0.02)
    finally:
        browser.close_page()
    messages = [message for message, _ in seen]
    delays = [seen[bisect_left(messages, message)][1] - at for message, _, at in published]
    return reached, delays


def _work(
    sockets: Sockets,
    server: Server,
    crowd: Crowd | None,
    load: float,
    is_over: Callable[[], bool],
) -> float:
    """Load the server until the measurement ends; return the share of a core that it used."""
    from benchmarks.sample import next_message

    cpu, began = machine.cpu_time(server.pids), time.perf_counter()
    checked = began
    while True:
        now = time.perf_counter()
        if now - checked > 0.2:
            checked = now
            if is_over():
                return (machine.cpu_time(server.pids) - cpu) / 1e6 / (now - began)
        if crowd is None:
            sockets.idle(0.01)
        elif machine.cpu_time(server.pids) - cpu < load * 1e6 * (now - began):
            message = next_message()
            sockets.deliver(message, crowd.publish, crowd.members)
        else:
            sockets.idle(0.002)


def _find() -> str:
    given = os.environ.get("CHROMIUM")
    path = next((path for name in (given, *NAMES) if name and (path := shutil.which(name))), None)
    if path is None:
        raise Missing("no Chromium was found")
    return path


class Chromium:
    """A browser with one page, in a thread of its own.

    Playwright runs an event loop in its thread, where `async_to_sync` refuses to work.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._opened = ExitStack()
        self._context: Any = None

    def __enter__(self) -> Self:
        self._thread.submit(self._start).result()
        return self

    def __exit__(self, *_error: object) -> None:
        self._thread.submit(self._opened.close).result()
        self._thread.shutdown()

    def open(self, way: str, origin: str, ident: str, session: str) -> None:
        """Open a page, and return when it has subscribed to a task."""
        self._thread.submit(self._open_page, way, origin, ident, session).result()

    def seen(self) -> list[tuple[str, float]]:
        """Return the messages that the page has received, with their times."""
        found: list[tuple[str, float]] = self._thread.submit(
            lambda: self._page.evaluate("window.seen")
        ).result()
        return found

    def close_page(self) -> None:
        """Close the page."""
        self._thread.submit(self._context.close).result()

    def _start(self) -> None:
        from playwright.sync_api import sync_playwright

        arguments = [*ARGUMENTS, "--no-sandbox"] if os.geteuid() == 0 else list(ARGUMENTS)
        with ExitStack() as opened:
            playwright = opened.enter_context(sync_playwright())
            self._browser = playwright.chromium.launch(executable_path=self._path, args=arguments)
            opened.callback(self._browser.close)
            self._opened = opened.pop_all()

    def _open_page(self, way: str, origin: str, ident: str, session: str) -> None:
        path, scripts, subscribe = SUBSCRIBE[way]
        self._context = self._browser.new_context()
        self._context.add_cookies([{"name": "sessionid", "value": session, "url": origin}])
        self._page = self._context.new_page()
        self._page.goto(origin + path)
        for script in scripts:
            file = files("celery_progress") / "static" / "celery_progress" / script
            self._page.add_script_tag(path=str(file))
        self._page.evaluate(f"async id => {{ {_SEEN} {subscribe} }}", ident)
        self._page.wait_for_timeout(300)  # until it has connected and subscribed
