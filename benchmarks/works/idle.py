"""The cost of an idle socket: signed in, and subscribed to its own task.

The memory is that of the process (RSS) minus its memory before the first socket, without the
kernel's buffers. The CPU time of many sockets is measured for so long that the servers ping them,
and check their positions and rights.
"""

from __future__ import annotations

import time

from benchmarks import machine, peers
from benchmarks.peers import Peer, Server, peer_named
from benchmarks.report import Table
from benchmarks.sockets import LoadError, Sockets
from benchmarks.stage import Stage

NAME = "idle"
SIZES = (100, 1000, 5000, 10_000)
#: The ways that are measured with a given number of sockets.
SINGLE = (peers.REALTIME, peers.TUTORIAL, peers.BARE)
QUICK_SIZE = 200
#: By way, how many of these sizes are measured; the others are left out to save time.
WAYS = {
    peers.REALTIME: 4,
    peers.TUTORIAL: 4,
    peers.CORE: 2,
    peers.UVICORN: 2,
    peers.SOCKET_IO: 2,
    peers.BARE: 4,
}
LEFT_OUT = {
    **dict.fromkeys(
        (peers.PROGRESS, peers.EVENTSTREAM),
        "to save time; the tutorial runs on Daphne too",
    ),
    **dict.fromkeys((peers.BROADCAST, peers.NCHAN), "to save time; there is another floor"),
    **{
        f"{way}, over {SIZES[sizes - 1]} sockets": "to save time"
        for way, sizes in WAYS.items()
        if sizes < len(SIZES)
    },
}
#: Seconds for which the CPU time of idle sockets is measured, and that of many.
SECONDS = 3.0
LONG_SECONDS = 60.0
#: So many sockets are measured for longer.
MANY = SIZES[-1]


def run(stage: Stage) -> Table:
    """Measure every way at every size, or a few ways at the size that is given."""
    given = stage.size.sockets or (QUICK_SIZE if stage.size.quick else 0)
    plan = {way: SIZES[:sizes] for way, sizes in WAYS.items()}
    if given:
        plan = dict.fromkeys(SINGLE, (given,))
    table = Table(
        NAME,
        "Idle sockets, each subscribed to one task",
        ("KiB each", "seconds to connect", "CPU % of a core"),
        cases="sockets",
        missing={} if given else dict(LEFT_OUT),
    )
    for way, sizes in plan.items():
        peer = peer_named(way)
        for server in stage.serve_all([peer], table).values():
            _measure(stage, table, peer, server, sizes)
        stage.close()
    return table


def _measure(
    stage: Stage, table: Table, peer: Peer, server: Server, sizes: tuple[int, ...]
) -> None:
    sockets = Sockets()
    try:
        open_sockets(stage, sockets, peer, server, 5)  # to allocate first what all sockets share
        sockets.close()
        machine.rest(server.pids)
        before, seconds = machine.memory(server.pids), 0.0
        for size in sizes:
            seconds += open_sockets(stage, sockets, peer, server, size - len(sockets))
            machine.rest(server.pids, timeout=5)
            idle = SECONDS if stage.size.quick or size < MANY else LONG_SECONDS
            cpu = machine.cpu_time(server.pids)
            sockets.idle(idle)
            cpu = machine.cpu_time(server.pids) - cpu
            if len(sockets) < size:
                raise LoadError(f"{size - len(sockets)} were closed while idle")
            each = (machine.memory(server.pids) - before) / size
            table.add(peer.name, [each, seconds, cpu / idle / 10_000], size)
    except LoadError as error:
        table.missing[f"{peer.name}, over {len(sockets)} sockets"] = str(error)
    finally:
        sockets.close()


def open_sockets(stage: Stage, sockets: Sockets, peer: Peer, server: Server, count: int) -> float:
    """Open more sockets, each subscribed to its own task; return the seconds that it took."""
    hellos = [peer.hello(server, peer.ident(), stage.session) for _ in range(count)]
    began = time.perf_counter()
    sockets.open(server.port, hellos)
    return time.perf_counter() - began
