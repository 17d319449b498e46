"""A burst of browsers, as after a restart: all connect at once, sign in and subscribe.

Who is turned away or cut off on the way comes again half a second later, and its time runs on.
"""

from __future__ import annotations

import time

from benchmarks import machine, peers
from benchmarks.peers import Peer, Server, peer_named
from benchmarks.report import Table, percentile
from benchmarks.sockets import LoadError, Sockets
from benchmarks.stage import Stage

NAME = "handshakes"
BURST = 2000
ATTEMPTS = 100
ROUNDS = 3
#: Seconds; who takes longer is measured once.
LONG = 20.0
WAYS = (
    *(peers.REALTIME, peers.TUTORIAL, peers.PLAIN, peers.UVICORN, peers.SOCKET_IO),
    *(peers.BARE, peers.BROADCAST),
)


def run(stage: Stage) -> Table:
    """Measure every way, several times each."""
    table = Table(
        NAME,
        f"A burst of {BURST} handshakes, each for one task",
        ("handshakes/s", "p50 ms", "p99 ms", "came again"),
    )
    ways = [peer_named(way) for way in WAYS]
    servers = stage.serve_all(ways, table)
    slow: set[Peer] = set()
    for _ in range(ROUNDS):
        for peer, server in servers.items():
            try:
                if peer not in slow:
                    figures = _burst(stage, peer, server)
                    table.add(peer.name, figures)
                    if BURST / figures[0] > LONG:
                        slow.add(peer)
            except LoadError as error:
                table.missing[peer.name] = str(error)
    return table


def _burst(stage: Stage, peer: Peer, server: Server) -> list[float]:
    hellos = [peer.hello(server, peer.ident(), stage.session) for _ in range(BURST)]
    sockets = Sockets()
    try:
        began = time.perf_counter()
        opened = sockets.open(server.port, hellos, at_once=BURST, attempts=ATTEMPTS)
        elapsed = time.perf_counter() - began
    finally:
        sockets.close()
        machine.rest(server.pids)
    delays = [one.ready_at - one.began for one in opened]
    again = sum(one.attempts - 1 for one in opened)
    return [BURST / elapsed, *(1000 * percentile(delays, part) for part in (0.5, 0.99)), again]
