"""What the figures share: clients that come and stay, and the tasks that they watch."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.client.watcher import Watcher
from tests.faults.batch import Batch, batch
from tests.faults.oracle import Verdict
from tests.faults.stage import require
from tests.until import until

from .report import Row
from .stage import LoadStage

MIB, KIB = 2**20, 2**10
#: Seconds over which clients reconnect after a restart.
RESTART_WAIT = 15.0


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


@contextmanager
def connected(
    stage: LoadStage, clients: Sequence[Watcher], *, at_once: int = 500
) -> Iterator[None]:
    """Let clients run, so many at once, and wait until all their subscriptions stand."""
    ends = []
    try:
        for start in range(0, len(clients), at_once):
            some = clients[start : start + at_once]
            ends.append(stage.fleet.start(some))
            wait_subscribed(some)
        yield
    finally:
        for end in ends:
            end()


def wait_subscribed(clients: Sequence[Watcher]) -> None:
    """Return when all subscriptions of these stand."""
    if not until(lambda: all(one.stands for one in clients), 60):
        away = [one for one in clients if not one.stands]
        first = away[0]
        raise RuntimeError(
            f"{len(away)} not subscribed: {first.codes} {first.refused} {first.violations[:3]}"
        )


@dataclass
class Crowd:
    """Clients that watch tasks, and the tasks that are sent at a steady pace."""

    stage: LoadStage
    batch: Batch
    clients: list[Watcher]
    rate: float
    queue: str

    def send_while(self, done: Callable[[], bool]) -> None:
        """Send the tasks, one after the other, until it is done."""
        began = time.monotonic()
        tasks = self.stage.tasks
        for number in range(len(self.batch.ids)):
            if done():
                return
            time.sleep(max(0.0, began + number / self.rate - time.monotonic()))
            if number % 4:
                self.batch.send(tasks.noop, number, queue=self.queue)
            else:
                self.batch.send(tasks.report, 0.5, 4, queue=self.queue)
        # A machine that is slow, or an end that does not come: all there are were sent.
        require(until(done, 120), "it does not end")

    def all_back(self, within: float = 60.0) -> bool:
        return bool(until(lambda: all(client.stands for client in self.clients), within))


@contextmanager
def crowd(
    stage: LoadStage,
    ports: Sequence[int],
    clients: int,
    tasks: int,
    rate: float,
    *,
    watched: int = 4,
    queue: str = "celery",
) -> Iterator[Crowd]:
    """Clients that watch some of the tasks each."""
    with batch(stage, tasks) as made:
        members = []
        turn = itertools.cycle(made.ids)
        for number in range(clients):
            mine = [next(turn) for _ in range(watched)]
            topics = {f"task:{one}": [one] for one in mine}
            wait = RESTART_WAIT if stage.long else 1.5
            members.append(Watcher(f"client-{number}", ports, topics, stage.rng, restart_wait=wait))
        for start in range(0, clients, 500):
            some = members[start : start + 500]
            made.admit(some)
            wait_subscribed(some)
        yield Crowd(stage, made, members, rate, queue)


def deliveries(key: str, title: str, verdict: Verdict, clients: int) -> Row:
    """The row of the oracle's comparison."""
    counts = [
        f"{getattr(verdict, kind)} {kind}" for kind in ("lost", "doubled", "reordered", "wrong")
    ]
    for finding in verdict.findings[:5]:
        print(f"      {finding}", flush=True)
    return Row(
        key,
        title,
        f"{verdict.tasks:,} tasks, {clients:,} clients",
        ", ".join(counts),
        "0",
        verdict.holds,
    )
