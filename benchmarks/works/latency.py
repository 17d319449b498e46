"""The time from the call in a worker's task to the frame at one client, without other load."""

from __future__ import annotations

from benchmarks import machine, peers
from benchmarks.peers import Peer, Server, peer_named
from benchmarks.report import Table
from benchmarks.sockets import LoadError, Sockets
from benchmarks.stage import Stage
from tests.percentile import percentile

NAME = "latency"
WAYS = (
    *(peers.REALTIME, peers.TUTORIAL, peers.CORE, peers.UVICORN, peers.PROGRESS),
    *(peers.SOCKET_IO, peers.EVENTSTREAM, peers.BARE, peers.BROADCAST),
)
LEFT_OUT = {peers.NCHAN: "to save time; there are other floors"}
EVENTS = 60
GAP = 0.01  # seconds between two events
DEADLINE = 60.0


def run(stage: Stage) -> Table:
    """Measure every way. The ways take turns, round by round."""
    columns = ("p50 ms", "p99 ms")
    table = Table(NAME, "From a worker to one client", columns, missing=dict(LEFT_OUT))
    servers = stage.serve_all([peer_named(way) for way in WAYS], table)
    queues = {}
    for peer in servers:
        if peer.way not in queues:
            queues[peer.way] = f"latency-{peer.way}"
            stage.worker(peer.way, queues[peer.way])
    for number in range(1, stage.size.rounds + 1):
        for peer, server in list(servers.items()):
            try:
                delays = _delays(stage, peer, server, queues[peer.way])
            except LoadError as error:
                table.missing[f"{peer.name}, from round {number} on"] = str(error)
                del servers[peer]
                continue
            table.add(peer.name, [1000 * percentile(delays, part) for part in (0.5, 0.99)])
    return table


def _delays(stage: Stage, peer: Peer, server: Server, queue: str) -> list[float]:
    from benchmarks.tasks import pace

    ident = peer.ident()
    sockets = Sockets()
    try:
        hello = peer.hello(server, ident, stage.session)
        client = sockets.open(server.port, [hello], stream=peer.stream)
        machine.rest(server.pids)
        sockets.expect("row 0")
        result = pace.apply_async((peer.name, ident, EVENTS, GAP), queue=queue)
        arrivals = sockets.take(EVENTS, client)
        published = result.get(timeout=DEADLINE)
    finally:
        sockets.close()
    return [at - began for at, (_, began, _) in zip(arrivals, published, strict=True)]
