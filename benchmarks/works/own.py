"""The cost of an event for the web process, if each socket subscribes to its own task.

First the load publishes one event at a time, so that the server sleeps between two. Then it
publishes many at once: the server is stopped (SIGSTOP) meanwhile, and receives all of them when it
continues.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Sequence

from benchmarks import machine, peers
from benchmarks.peers import Peer, Server, peer_named
from benchmarks.peers.base import Publish
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
#: The ways that are also measured at the larger size; the others are left out to save time.
LARGE = (peers.REALTIME, peers.TUTORIAL, peers.BARE)
LEFT_OUT = {
    peers.PROGRESS: "to save time; its sockets are those of the tutorial on the core layer",
    **{f"{way}, {SIZES[-1]} sockets": "to save time" for way in WAYS if way not in LARGE},
}
COLUMNS = ("CPU µs an event", "p50 ms", "p99 ms", "CPU µs, many at once")
#: The fewest events of a round, which ends by time.
LEAST = 20
#: Events at once. Of more than that the core layer drops some.
AT_ONCE = 100
#: The most seconds to wait until a server is idle. Many servers with thousands of sockets never
#: are, and meanwhile nothing answers their pings.
REST = 10.0


def run(stage: Stage) -> Table:
    """Measure every way at every size, one after the other."""
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
        publishers = [peer.publisher(ident) for ident in random.sample(idents, AT_ONCE)]
        machine.rest(server.pids, timeout=REST)
        for number in range(stage.size.rounds + 1):
            delays: list[float] = []
            cpu, began = machine.cpu_time(server.pids), time.perf_counter()
            while len(delays) < LEAST or time.perf_counter() < began + stage.size.seconds:
                publish = random.choice(publishers)
                delays += sockets.deliver(next_message(), publish, crowd, count=1)
            cpu = machine.cpu_time(server.pids) - cpu
            if number:  # the first round is the warm-up
                found = [cpu / len(delays), *(1000 * percentile(delays, p) for p in (0.5, 0.99))]
                table.add(peer.name, [*found, _at_once(server, sockets, crowd, publishers)], size)
    finally:
        sockets.close()
        machine.rest(server.pids)


def _at_once(
    server: Server, sockets: Sockets, crowd: Group, publishers: Sequence[Publish]
) -> float:
    """Return the CPU time in µs of one of many events that arrive together."""
    sockets.expect("row 0")
    for pid in server.pids:
        os.kill(pid, signal.SIGSTOP)
        while machine.state(pid) != "T":
            time.sleep(0.001)
    try:
        for publish in publishers:
            publish(next_message())
        cpu = machine.cpu_time(server.pids)
    finally:
        for pid in server.pids:
            os.kill(pid, signal.SIGCONT)
    sockets.take(len(publishers), crowd)
    return (machine.cpu_time(server.pids) - cpu) / len(publishers)
