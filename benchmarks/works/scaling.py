"""The costs with one and with two web processes, and the rate of tasks with one and two workers.

All web processes share one core, so their cost is compared, and not their speed.
"""

from __future__ import annotations

from benchmarks import machine, peers
from benchmarks.peers import Peer, Server, peer_named
from benchmarks.report import Table
from benchmarks.sample import next_message
from benchmarks.sockets import Group, Sockets
from benchmarks.stage import Stage

from . import tasks

NAME = "scaling"
SOCKETS = 1000
EVENTS = 20


def run(stage: Stage) -> Table:
    """Measure this service with one and with two processes of each kind."""
    table = Table(
        NAME,
        f"One and two of each: {SOCKETS} sockets on one task; no-op tasks, one child a worker",
        ("CPU µs a delivery", "Redis CPU µs an event", "p50 ms", "tasks/s"),
        cases="processes",
    )
    peer = peer_named(peers.REALTIME)
    servers = [stage.serve(peer), stage.serve(peer)]
    for count in (1, 2):
        _web(stage, table, peer, servers[:count])
    nodes = ["scaling0", "scaling1"]
    for node in nodes:
        stage.worker(peer.way, node)
    tasks.rate(nodes, tasks.NO_OP, 100)
    for _ in range(stage.size.rounds):
        for count in (1, 2):
            rate = tasks.rate(nodes[:count], tasks.NO_OP, 300 * count)
            table.add("workers", [None, None, None, rate], count)
    return table


def _web(stage: Stage, table: Table, peer: Peer, servers: list[Server]) -> None:
    ident, sockets = peer.ident(), Sockets()
    publish = peer.publisher(ident)
    pids = [pid for server in servers for pid in server.pids]
    try:
        crowd = Group()
        for server in servers:
            count = SOCKETS // len(servers)
            hellos = [peer.hello(server, ident, stage.session) for _ in range(count)]
            sockets.open(server.port, hellos, group=crowd)
        machine.rest(pids)
        for number in range(stage.size.rounds + 1):
            cpu, redis_cpu = machine.cpu_time(pids), machine.cpu_time([stage.redis.pid])
            delays: list[float] = []
            for _ in range(EVENTS):
                message = next_message()
                delays += sockets.deliver(message, publish, crowd)
            if number:  # the first round is the warm-up
                cpu = (machine.cpu_time(pids) - cpu) / len(delays)
                redis_cpu = (machine.cpu_time([stage.redis.pid]) - redis_cpu) / EVENTS
                middle = 1000 * sorted(delays)[len(delays) // 2]
                table.add("web processes", [cpu, redis_cpu, middle, None], len(servers))
    finally:
        sockets.close()
        machine.rest(pids)
