"""The cost of one event for the web process if each socket subscribes to its own task.

First one event at a time, to one socket after another: the server sleeps between two. Then many at
once: the server is stopped while they are published, so that it processes all when it continues.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Sequence

from benchmarks import machine, peers
from benchmarks.peers import Peer, Server, peer_named
from benchmarks.peers.base import Tell
from benchmarks.report import Table
from benchmarks.sample import next_message
from benchmarks.sockets import Group, LoadError, Sockets
from benchmarks.stage import Stage
from benchmarks.works import delivery
from tests.percentile import percentile

NAME = "own"
WAYS = tuple(way for way in delivery.WAYS if way != peers.PROGRESS)
QUICK = (peers.REALTIME, peers.TUTORIAL)
SIZES = (1000, 5000)
#: The ways that are measured at the larger size too; time limits their number.
LARGE = (peers.REALTIME, peers.TUTORIAL, peers.BARE)
LEFT_OUT = {
    peers.PROGRESS: "for time: it has the tutorial's sockets, on the core layer",
    **{f"{way}, {SIZES[-1]} sockets": "for time" for way in WAYS if way not in LARGE},
}
COLUMNS = ("CPU µs an event", "p50 ms", "p99 ms", "CPU µs, many at once")
LEAST = 20
#: The core layer drops more messages than that for one process.
AT_ONCE = 100
#: Seconds for a server to become idle; after that it is measured all the same. Many servers with
#: thousands of sockets never are idle, and meanwhile nobody answers their pings.
REST = 10.0


def run(stage: Stage) -> Table:
    """Measure every way at every size, one way after the other."""
    title = "One event to one of many sockets"
    table = Table(NAME, title, COLUMNS, cases="sockets", missing=dict(LEFT_OUT))
    ways = [peer_named(way) for way in (QUICK if stage.size.quick else WAYS)]
    servers = stage.serve_all(ways, table)
    for size in SIZES[:1] if stage.size.quick else SIZES:
        for peer, server in servers.items():
            if size != SIZES[0] and peer.name not in LARGE:
                continue
            try:
                _measure(stage, table, peer, server, size)
            except LoadError as error:
                table.missing[f"{peer.name}, {size} sockets"] = str(error)
    return table


def _measure(stage: Stage, table: Table, peer: Peer, server: Server, size: int) -> None:
    idents = [peer.ident() for _ in range(size)]
    sockets = Sockets()
    try:
        hellos = [peer.hello(server, ident, stage.session) for ident in idents]
        crowd = sockets.open(server.port, hellos, stream=peer.stream)
        tells = [peer.publisher(ident) for ident in random.sample(idents, AT_ONCE)]
        machine.rest(server.pids, timeout=REST)
        for number in range(stage.size.rounds + 1):
            delays: list[float] = []
            cpu, began = machine.cpu_time(server.pids), time.perf_counter()
            while len(delays) < LEAST or time.perf_counter() < began + stage.size.seconds:
                message, tell = next_message(), random.choice(tells)
                delays += sockets.deliver(message, tell, crowd, count=1)
            cpu = machine.cpu_time(server.pids) - cpu
            if number:  # the first one warms
                found = [cpu / len(delays), *(1000 * percentile(delays, p) for p in (0.5, 0.99))]
                table.add(peer.name, [*found, _at_once(server, sockets, crowd, tells)], size)
    finally:
        sockets.close()
        machine.rest(server.pids)


def _at_once(server: Server, sockets: Sockets, crowd: Group, tells: Sequence[Tell]) -> float:
    sockets.expect("row 0")
    for pid in server.pids:
        os.kill(pid, signal.SIGSTOP)
        while machine.state(pid) != "T":
            time.sleep(0.001)
    try:
        for tell in tells:
            tell(next_message())
        cpu = machine.cpu_time(server.pids)
    finally:
        for pid in server.pids:
            os.kill(pid, signal.SIGCONT)
    sockets.take(len(tells), crowd)
    return (machine.cpu_time(server.pids) - cpu) / len(tells)
