"""What is left after all clients have disconnected."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings as django_settings
from django.test import override_settings

from project.processes import Process
from tests.faults.stage import require
from tests.until import until

from .crowd import MIB, crowd
from .report import Row
from .stage import LoadStage, Web, descriptors, group, rss

#: Seconds for which a round's tasks are kept: long enough for clients of a busy machine.
KEPT = 10
SHORT_LIVED = {"RECORD_TTL": KEPT, "UNFINISHED_TTL": 2 * KEPT, "HISTORY_TTL": KEPT}


def leaks(stage: LoadStage) -> Iterator[Row]:
    """Ten equal rounds: what is left after the first one, and after the last one."""
    rounds, count, tasks = (10, 300, 300) if stage.long else (3, 20, 20)
    service = {"REDIS_URL": stage.server.url, **SHORT_LIVED}
    settings = {"REALTIME": service, "CELERY_RESULT_EXPIRES": KEPT}
    worker = stage.worker(queue="leaks", settings=settings)
    seen: list[dict[str, float]] = []
    # This process publishes, so it names how long lists of tasks are kept.
    here = override_settings(REALTIME={**django_settings.REALTIME, **SHORT_LIVED})
    with here, stage.serving(**SHORT_LIVED) as [web]:
        for _ in range(rounds + 1):
            with crowd(stage, [web.port], count, tasks, 50.0, queue="leaks") as made:
                made.send_while(lambda made=made: len(made.batch.sent) == tasks)
                verdict = made.batch.judge()
                require(verdict.holds, f"{verdict.findings[:3]}")
            seen.append(what_is_left(stage, web, worker))
    worker.kill()
    # The first round of all fills pools and caches.
    first, last = seen[1], seen[-1]
    size = f"{rounds} rounds, {count} clients"
    for number, (name, value) in enumerate(first.items(), 1):
        ratio = last[name] / value if value else 1.0 + last[name]
        measured = f"{value:,.4g} → {last[name]:,.4g} ({ratio:.2f})"
        yield Row(f"g{number}", f"leaks: {name}", size, measured, "1.10", ratio <= 1.1)


def what_is_left(stage: LoadStage, web: Web, worker: Process) -> dict[str, float]:
    """What may not grow, once what was kept for a round is gone."""
    require(until(lambda: not stage.kept(), 60), f"not everything expired: {stage.kept()[:5]}")
    inside: dict[str, int] = {}

    def is_at_rest() -> bool:  # connections are still being ended
        nonlocal inside
        before, inside = inside, web.probe()
        return inside == before

    require(until(is_at_rest, 30), "the web process does not come to rest")
    pid, children = web.process.pid, group(worker.pid)
    return {
        "web process, MiB": rss(pid) / MIB,
        "web process, file descriptors": descriptors(pid),
        "web process, asyncio tasks": inside["asyncio tasks"],
        "worker with its children, MiB": sum(map(rss, children)) / MIB,
        "worker with its children, file descriptors": sum(map(descriptors, children)),
        **stage.redis_figures(),
    }
