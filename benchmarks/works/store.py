"""The cost for Redis: of one event, and of the data that it keeps of a task."""

from __future__ import annotations

import uuid
from typing import Any

import redis

from benchmarks import machine, peers
from benchmarks.peers import Missing, peer_named
from benchmarks.report import Table
from benchmarks.sample import next_message
from benchmarks.stage import Stage

NAME = "store"
WAYS = (peers.REALTIME, peers.TUTORIAL, peers.CORE, peers.SOCKET_IO, peers.BARE)
LEFT_OUT = {
    peers.UVICORN: "it publishes as the tutorial on Daphne does",
    **dict.fromkeys(
        (peers.PROGRESS, peers.POLLED, peers.RESULT, peers.EVENTSTREAM),
        "to save time; the table of one publish has its commands",
    ),
    peers.BROADCAST: "it publishes as the other floor does",
    peers.NCHAN: "it uses no Redis",
}
EVENTS = 500
TASKS = 1000


def run(stage: Stage) -> Table:
    """Measure every way without subscribers. The ways take turns, round by round."""
    table = Table(
        NAME,
        "What Redis does for one event, and what it keeps of tasks that have ended",
        ("commands", "bytes in", "bytes out", "CPU µs", "KiB per 1,000 tasks"),
        missing=dict(LEFT_OUT),
    )
    idents = {}
    for way in WAYS:
        try:
            peer_named(way).check_present()
        except Missing as missing:
            table.missing[way] = str(missing)
            continue
        idents[way] = peer_named(way).ident()
    publishers = {way: peer_named(way).publisher(ident) for way, ident in idents.items()}
    with redis.Redis.from_url(stage.redis_url) as client:
        for _ in range(stage.size.rounds):
            for way, publish in publishers.items():
                publish(next_message())
                before, cpu = _counted(client), machine.cpu_time([stage.redis.pid])
                for _ in range(EVENTS):
                    publish(next_message())
                cpu = machine.cpu_time([stage.redis.pid]) - cpu
                spent = [b - a for a, b in zip(before, _counted(client), strict=True)]
                spent[0] -= 1  # the first INFO of this count
                peer_named(way).check(idents[way])
                kept = _kept(client) if way == peers.REALTIME else None
                table.add(way, [*(each / EVENTS for each in (*spent, cpu)), kept])
    return table


def _counted(client: Any) -> list[int]:
    stats = client.info("stats")
    names = ("total_commands_processed", "total_net_input_bytes", "total_net_output_bytes")
    return [stats[name] for name in names]


def _kept(client: Any) -> float:
    """Return the KiB that 1,000 ended tasks use, with their topics and logs."""
    from realtime.core.change import Change
    from realtime.core.jsontext import dumps, timestamp
    from realtime.store import get_store

    before = client.info("memory")["used_memory"]
    owner = f"owner-{uuid.uuid4().hex[:8]}"
    for _ in range(TASKS):
        task_id, run_id = str(uuid.uuid4()), uuid.uuid4().hex[:8]
        now = timestamp()
        changes: tuple[tuple[str, str, dict[str, str]], ...] = (
            ("PENDING", "", {"name": dumps("tasks.imports.import_csv"), "published_at": now}),
            ("RECEIVED", "", {"updated_at": now}),
            ("STARTED", run_id, {"started_at": now}),
            ("SUCCESS", run_id, {"result": dumps({"rows": 120_000}), "finished_at": now}),
        )
        for state, run, fields in changes:
            get_store().accept(
                Change(
                    task_id=task_id,
                    state=state,
                    run_id=run,
                    begins=state == "STARTED",
                    owner=owner,
                    fields=fields,
                )
            )
    return float(client.info("memory")["used_memory"] - before) / 1024
