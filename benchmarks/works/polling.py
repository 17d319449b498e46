"""The cost of a poll for the web process."""

from __future__ import annotations

import http.client
import time
import uuid

from benchmarks import machine, peers
from benchmarks.peers import Server, peer_named
from benchmarks.peers.result import Result
from benchmarks.report import Table
from benchmarks.stage import Stage
from tests.percentile import percentile

NAME = "polling"
#: By way, the seconds between two polls of one page.
WAYS = {peers.POLLED: 0.5, peers.RESULT: 1.0}
REQUESTS = 200


def run(stage: Stage) -> Table:
    """Measure every way. The ways take turns, round by round."""
    table = Table(
        NAME,
        "Reading one task over HTTP, one request after another",
        ("CPU µs a request", "p50 ms", "p99 ms", "cores for 1,000 pages"),
    )
    servers = stage.serve_all([peer_named(way) for way in WAYS], table)
    for number in range(stage.size.rounds + 1):
        for peer, server in servers.items():
            assert isinstance(peer, Result)
            figures = _requests(stage, peer, server)
            if number:  # the first round is the warm-up
                pages = figures[0] * 1000 / WAYS[peer.name] / 1e6
                table.add(peer.name, [*figures, pages])
    return table


def _requests(stage: Stage, peer: Result, server: Server) -> list[float]:
    from benchmarks.celery import app

    ident = str(uuid.uuid4())
    app.backend.store_result(ident, {"current": 1, "total": 2, "message": "row"}, "PROGRESS")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    path, headers = peer.path.format(ident), {"Cookie": f"sessionid={stage.session}"}
    delays = []
    cpu = machine.cpu_time(server.pids)
    for _ in range(REQUESTS):
        began = time.perf_counter()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        text = answer.read()
        delays.append(time.perf_counter() - began)
        if b"PROGRESS" not in text:
            raise RuntimeError(f"{answer.status}: {text[:300]!r}")
    cpu = machine.cpu_time(server.pids) - cpu
    connection.close()
    return [cpu / REQUESTS, *(1000 * percentile(delays, part) for part in (0.5, 0.99))]
