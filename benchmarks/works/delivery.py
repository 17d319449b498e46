"""The cost of a delivery for the web process, if many sockets subscribe to one task.

The load publishes the next event when every socket has received the last one, so that no way can
save work by merging events.
"""

from __future__ import annotations

import time

from benchmarks import machine, peers
from benchmarks.peers import Peer, Server, peer_named
from benchmarks.report import Table
from benchmarks.sample import next_message
from benchmarks.sockets import LoadError, Sockets
from benchmarks.stage import Stage
from tests.percentile import percentile

NAME = "delivery"
WAYS = (
    *(peers.REALTIME, peers.TUTORIAL, peers.CORE, peers.UVICORN, peers.PROGRESS),
    *(peers.SOCKET_IO, peers.EVENTSTREAM, peers.BARE, peers.BROADCAST, peers.NCHAN),
)
QUICK = (peers.REALTIME, peers.TUTORIAL, peers.BARE)
SIZES = (1, 10, 100, 200, 1000, 5000)
#: The ways that are also measured at the largest size; the others are left out to save time.
LARGE = (*QUICK, peers.SOCKET_IO, peers.BROADCAST, peers.NCHAN)
LEFT_OUT = {f"{way}, {SIZES[-1]} sockets": "to save time" for way in WAYS if way not in LARGE}
COLUMNS = ("CPU µs a delivery", "deliveries/s", "p50 ms", "p99 ms")
#: The fewest and the most events of a round, which ends by time.
LEAST, MOST = 3, 200
WARM_UP = 3
#: The most sockets at once. If all ways together have more, the ways are measured one by one.
TOGETHER = 12_000


def run(stage: Stage) -> Table:
    """Measure every way at every size. The ways take turns, round by round."""
    title = "One event to the sockets of one task"
    table = Table(NAME, title, COLUMNS, cases="sockets", missing=dict(LEFT_OUT))
    ways = [peer_named(way) for way in (QUICK if stage.size.quick else WAYS)]
    servers = stage.serve_all(ways, table)
    for size in (200,) if stage.size.quick else SIZES:
        those = [peer for peer in servers if size != SIZES[-1] or peer.name in LARGE]
        together = size * len(those) <= TOGETHER
        for group in [those] if together else [[peer] for peer in those]:
            _measure(stage, table, {peer: servers[peer] for peer in group}, size)
    return table


class Crowd:
    """The sockets of one way, all subscribed to one task."""

    def __init__(
        self, sockets: Sockets, peer: Peer, server: Server, size: int, stage: Stage
    ) -> None:
        self.server = server
        self.sockets = sockets
        ident = peer.ident()
        hellos = [peer.hello(server, ident, stage.session) for _ in range(size)]
        self.members = sockets.open(server.port, hellos, stream=peer.stream)
        self.publish = peer.publisher(ident)
        machine.rest(server.pids)

    def warm(self) -> None:
        """Deliver some events first: a server may accept a client before it joins the group."""
        for _ in range(WARM_UP):
            self.sockets.deliver(next_message(), self.publish, self.members)

    def round(self, seconds: float) -> list[float]:
        """Deliver events for a while; return the figures of the round."""
        delays: list[float] = []
        taken = [one.taken for one in self.members]
        cpu, began, events = machine.cpu_time(self.server.pids), time.perf_counter(), 0
        while events < MOST and (events < LEAST or time.perf_counter() < began + seconds):
            delays += self.sockets.deliver(next_message(), self.publish, self.members)
            events += 1
        elapsed = time.perf_counter() - began
        cpu = machine.cpu_time(self.server.pids) - cpu
        if any(
            one.taken - before != events for one, before in zip(self.members, taken, strict=True)
        ):
            raise LoadError("a socket did not receive each event exactly once")
        return [
            cpu / len(delays),
            len(delays) / elapsed,
            1000 * percentile(delays, 0.5),
            1000 * percentile(delays, 0.99),
        ]


def _measure(stage: Stage, table: Table, servers: dict[Peer, Server], size: int) -> None:
    # One loop for all ways: the sockets of a way that waits for its turn must answer pings.
    sockets = Sockets()
    crowds: dict[Peer, Crowd] = {}
    try:
        for number in range(stage.size.rounds + 1):
            for peer, server in servers.items():
                try:
                    if number == 0:
                        crowds[peer] = Crowd(sockets, peer, server, size, stage)
                        crowds[peer].warm()
                    elif peer in crowds:
                        table.add(peer.name, crowds[peer].round(stage.size.seconds), size)
                except LoadError as error:
                    table.missing[f"{peer.name}, {size} sockets"] = str(error)
                    crowds.pop(peer, None)
    finally:
        sockets.close()
        for server in servers.values():
            machine.rest(server.pids)
