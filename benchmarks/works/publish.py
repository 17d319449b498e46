"""The cost of a publish for a task, measured in a prefork child of a real worker.

Each way has a worker of its own; the workers take turns, round by round. There are no subscribers:
for a group with members the core layer would do more work.
"""

from __future__ import annotations

from benchmarks import peers
from benchmarks.peers import Missing, peer_named
from benchmarks.report import Table
from benchmarks.stage import Stage

NAME = "publish"
DEADLINE = 120.0
WAYS = (
    *(peers.REALTIME, peers.TUTORIAL, peers.CORE, peers.PROGRESS, peers.POLLED),
    *(peers.SOCKET_IO, peers.EVENTSTREAM, peers.RESULT, peers.BARE),
)
QUICK = (peers.REALTIME, peers.TUTORIAL)


def run(stage: Stage) -> Table:
    """Measure every way. The ways take turns, round by round."""
    from benchmarks.tasks import publish

    calls = stage.size.calls
    table = Table(
        NAME,
        f"One publish from a prefork child, {calls} a round",
        ("wall p50 µs", "wall p99 µs", "CPU µs", "commands sent", "in scripts"),
    )
    queues = {}
    for number, way in enumerate(QUICK if stage.size.quick else WAYS):
        try:
            peer_named(way).check_present()
        except Missing as missing:
            table.missing[way] = str(missing)
            continue
        queues[way] = f"publish{number}"
        stage.worker(peer_named(way).way, queues[way])
    for _ in range(stage.size.rounds):
        for way, queue in queues.items():
            found = publish.apply_async((way, calls), queue=queue).get(timeout=DEADLINE)
            keys = ("p50", "p99", "cpu", "sent", "inside")
            table.add(way, [found[key] for key in keys])
    return table
