"""A burst of clients, as after a restart: all connect at once with a session, and subscribe.

A client that is refused or disconnected tries again half a second later. Its time includes all
attempts.
"""

from __future__ import annotations

import time

from benchmarks import machine, peers
from benchmarks.peers import Peer, Server, peer_named
from benchmarks.report import Table
from benchmarks.sockets import Group, LateError, LoadError, Socket, Sockets
from benchmarks.stage import Stage
from tests.percentile import percentile

NAME = "handshakes"
BURST = 2000
ATTEMPTS = 100
ROUNDS = 3
#: Seconds. A way whose round is longer than LONG is measured once. At the deadline the round ends,
#: without the clients that have not connected. The retries of TCP alone last almost two minutes.
LONG, DEADLINE = 20.0, 240.0
WAYS = (
    *(peers.REALTIME, peers.UVICORN, peers.SOCKET_IO),
    *(peers.BARE, peers.BROADCAST),
)
LEFT_OUT = {
    **dict.fromkeys(
        (peers.TUTORIAL, peers.CORE, peers.PROGRESS, peers.EVENTSTREAM),
        "Daphne as shipped lets most of a burst come again, and its rate of one run can be forty"
        " times that of another",
    ),
    peers.NCHAN: "to save time; there are other floors",
}


def run(stage: Stage) -> Table:
    """Measure every way three times, or once if it is slow or fails."""
    table = Table(
        NAME,
        f"A burst of {BURST} handshakes, each for one task",
        ("handshakes/s", "p50 ms", "p99 ms", "retries"),
        missing=dict(LEFT_OUT),
    )
    ways = [peer_named(way) for way in WAYS]
    servers = stage.serve_all(ways, table)
    for number in range(1, ROUNDS + 1):
        for peer, server in list(servers.items()):
            try:
                seconds, opened = _burst(stage, peer, server)
            except LoadError as error:
                table.missing[f"{peer.name}, from round {number} on"] = str(error)
                del servers[peer]
                continue
            table.add(peer.name, _figures(seconds, opened))
            if len(opened) < BURST:
                table.missing[f"{peer.name}, {BURST - len(opened)} of {BURST} clients"] = (
                    f"not connected after {DEADLINE:.0f} s; the figures are those of the others"
                )
                del servers[peer]
            elif seconds > LONG:
                table.missing[f"{peer.name}, from round {number + 1} on"] = (
                    f"a round takes {seconds:.0f} s"
                )
                del servers[peer]
    return table


def _burst(stage: Stage, peer: Peer, server: Server) -> tuple[float, list[Socket]]:
    """Return the seconds until the last client connected, and the clients before the deadline."""
    hellos = [peer.hello(server, peer.ident(), stage.session) for _ in range(BURST)]
    sockets, group = Sockets(), Group()
    began = time.perf_counter()
    try:
        sockets.open(
            server.port,
            hellos,
            at_once=BURST,
            attempts=ATTEMPTS,
            deadline=DEADLINE,
            group=group,
        )
    except LateError:
        if not any(one.is_ready for one in group):
            raise
    finally:
        sockets.close()
        machine.rest(server.pids)
    opened = [one for one in group if one.is_ready]
    return max(one.ready_at for one in opened) - began, opened


def _figures(seconds: float, opened: list[Socket]) -> list[float]:
    delays = [one.ready_at - one.began for one in opened]
    retries = sum(one.attempts - 1 for one in opened)
    parts = (1000 * percentile(delays, part) for part in (0.5, 0.99))
    return [len(opened) / seconds, *parts, retries]
