"""The cost of the pings of idle sockets, each signed in and subscribed to its own task.

Browsers send a ping as a message after 25 s of silence, since a page cannot send those of the
WebSocket protocol. The server's CPU time is measured in two periods: in one, nothing is sent; in
the other, each socket sends one ping. The difference is the cost of the pings.
"""

from __future__ import annotations

from benchmarks import machine, peers
from benchmarks.peers import Peer, Server, peer_named
from benchmarks.report import Table
from benchmarks.sockets import LoadError, Sockets
from benchmarks.stage import Stage
from benchmarks.works import idle
from tests.client.octets import FIN, PING, frame

NAME = "pings"
#: Seconds between two pings of a socket, as a browser sends them.
EVERY = 25.0
#: Seconds of a period: the service checks the access of each client once in it.
PERIOD = 30.0
#: The octets of a ping, and what its answer contains.
MESSAGE = frame('{"type":"ping","id":1}'), '"pong"'
PROTOCOLS = frame(b"benchmark", FIN | PING), "benchmark"
#: The row of this service with the protocol's pings.
WITH_PROTOCOLS = f"{peers.REALTIME}, the protocol's pings"
#: For each way: its row, its pings, and the sizes to measure; time limits these.
WAYS = {
    peers.REALTIME: (
        (peers.REALTIME, MESSAGE, (1000, 10_000)),
        (WITH_PROTOCOLS, PROTOCOLS, (1000,)),
    ),
    peers.TUTORIAL: ((peers.TUTORIAL, PROTOCOLS, (1000,)),),
}
COLUMNS = ("CPU % of a core", "without pings", "CPU µs a ping")


def run(stage: Stage) -> Table:
    """Measure every way at its sizes."""
    title = f"Idle sockets that send a ping every {EVERY:.0f} s"
    table = Table(NAME, title, COLUMNS, cases="sockets")
    for way, rows in WAYS.items():
        peer = peer_named(way)
        for server in stage.serve_all([peer], table).values():
            _measure(stage, table, peer, server, rows)
        stage.close()
    return table


def _measure(
    stage: Stage,
    table: Table,
    peer: Peer,
    server: Server,
    rows: tuple[tuple[str, tuple[bytes, str], tuple[int, ...]], ...],
) -> None:
    sockets = Sockets()
    try:
        for size in sorted({size for _, _, sizes in rows for size in sizes}):
            idle.open_sockets(stage, sockets, peer, server, size - len(sockets))
            machine.rest(server.pids, timeout=5)
            cpu = machine.cpu_time(server.pids)
            sockets.idle(PERIOD)
            silent = machine.cpu_time(server.pids) - cpu
            for row, (octets, answer), sizes in rows:
                if size in sizes:
                    cpu = machine.cpu_time(server.pids)
                    sockets.ping(octets, answer, EVERY)
                    sockets.idle(PERIOD - EVERY)
                    pings = machine.cpu_time(server.pids) - cpu - silent
                    shares = [silent / PERIOD + pings / EVERY, silent / PERIOD]
                    table.add(row, [*(each / 10_000 for each in shares), pings / size], size)
    except LoadError as error:
        table.missing[f"{peer.name}, over {len(sockets)} sockets"] = str(error)
    finally:
        sockets.close()
