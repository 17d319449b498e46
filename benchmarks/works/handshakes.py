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
#: Seconds; who takes longer is measured once. TCP's retries alone take almost two minutes.
LONG, DEADLINE = 20.0, 240.0
WAYS = (
    *(peers.REALTIME, peers.TUTORIAL, peers.PLAIN, peers.UVICORN, peers.SOCKET_IO),
    *(peers.BARE, peers.BROADCAST),
)
LEFT_OUT = {
    **dict.fromkeys(
        (peers.CORE, peers.PROGRESS, peers.EVENTSTREAM),
        "for time: it is on Daphne, which is what limits the tutorial's",
    ),
    peers.NCHAN: "for time: there are other floors",
}


def run(stage: Stage) -> Table:
    """Measure every way, several times each; once, who is slow or fails."""
    table = Table(
        NAME,
        f"A burst of {BURST} handshakes, each for one task",
        ("handshakes/s", "p50 ms", "p99 ms", "came again"),
        missing=dict(LEFT_OUT),
    )
    ways = [peer_named(way) for way in WAYS]
    servers = stage.serve_all(ways, table)
    for number in range(1, ROUNDS + 1):
        for peer, server in list(servers.items()):
            try:
                figures = _burst(stage, peer, server)
            except LoadError as error:
                table.missing[f"{peer.name}, from round {number} on"] = str(error)
                del servers[peer]
                continue
            table.add(peer.name, figures)
            if (seconds := BURST / figures[0]) > LONG:
                table.missing[f"{peer.name}, from round {number + 1} on"] = (
                    f"it takes {seconds:.0f} s"
                )
                del servers[peer]
    return table


def _burst(stage: Stage, peer: Peer, server: Server) -> list[float]:
    hellos = [peer.hello(server, peer.ident(), stage.session) for _ in range(BURST)]
    sockets = Sockets()
    try:
        began = time.perf_counter()
        opened = sockets.open(
            server.port, hellos, at_once=BURST, attempts=ATTEMPTS, deadline=DEADLINE
        )
        elapsed = time.perf_counter() - began
    finally:
        sockets.close()
        machine.rest(server.pids)
    delays = [one.ready_at - one.began for one in opened]
    again = sum(one.attempts - 1 for one in opened)
    return [BURST / elapsed, *(1000 * percentile(delays, part) for part in (0.5, 0.99)), again]
