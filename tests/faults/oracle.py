"""How tasks really ended, and whether the clients' callbacks agree.

Each task writes its outcome to a file, and fsyncs it, before it returns to Celery; the code that
kills a task notes that. The service has no part in it. Moments are seconds of the machine's
monotonic clock, which all processes share and which a wrong wall clock does not change.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from realtime.core.states import LOST, RECEIVED, STALLED, STARTED, SUCCESS, TERMINAL, rank
from tests.client.watcher import Callback
from tests.percentile import percentile

#: Where tasks write; tasks of one family of faults share a file.
LOG_VARIABLE = "FAULTS_LOG"
#: Seconds by which two processes may read the machine's clock differently.
SAME_TIME = 0.001


def write(what: str, task_id: str, *, durable: bool = True, **more: Any) -> None:
    """Append a line to the log, from a task. It is on the disk when this returns."""
    line = json.dumps({"at": time.monotonic(), "what": what, "task": task_id, **more})
    descriptor = os.open(os.environ[LOG_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode() + b"\n")
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Truth:
    """How a task really ended, and when. The moment of a noted outcome is approximate."""

    at: float
    state: str
    result: Any = None
    is_noted: bool = False


class Oracle:
    """The outcomes in the log. `note` adds those of tasks that cannot write their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self.truths: dict[str, Truth] = {}
        #: Times at which each task began, and in which process.
        self.begun: dict[str, list[tuple[float, int]]] = {}
        #: All outcomes that each task wrote, one a run.
        self.outcomes: dict[str, list[Truth]] = {}
        #: Seconds that the receivers of Celery's signals took of each task.
        self.costs: dict[str, float] = {}
        self._read = 0
        self._rest = b""

    def note(self, task_id: str, state: str, *, at: float | None = None) -> None:
        """Note the outcome of a task that cannot write it."""
        self.truths[task_id] = Truth(time.monotonic() if at is None else at, state, is_noted=True)

    def read_log(self) -> list[dict[str, Any]]:
        """Read the new lines of the log, and return them."""
        with self.path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        self._read += len(new)
        *whole, self._rest = (self._rest + new).split(b"\n")
        lines: list[dict[str, Any]] = [json.loads(line) for line in whole]
        for line in lines:
            task_id, what = line["task"], line["what"]
            if what == "began":
                self.begun.setdefault(task_id, []).append((line["at"], line["pid"]))
            elif what == "cost":
                self.costs[task_id] = max(self.costs.get(task_id, 0.0), line["seconds"])
            else:
                truth = Truth(line["at"], what, line.get("result"))
                self.outcomes.setdefault(task_id, []).append(truth)
                if task_id not in self.truths or self.truths[task_id].state != SUCCESS:
                    # A success stays, also where an overtaken run ends after it.
                    self.truths[task_id] = truth
        return lines


@dataclass
class Verdict:
    """The result of a comparison. The first four counts are of pairs of a task and a client."""

    tasks: int = 0
    lost: int = 0
    doubled: int = 0
    reordered: int = 0
    wrong: int = 0
    #: Seconds from each outcome to its callback, one per client.
    latencies: list[float] = field(default_factory=list)
    #: The first few findings, as text.
    findings: list[str] = field(default_factory=list)

    def add(self, other: Verdict) -> None:
        """Add the comparison of another batch."""
        for name in ("tasks", "lost", "doubled", "reordered", "wrong"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.latencies += other.latencies
        self.findings += other.findings

    @property
    def holds(self) -> bool:
        return not (self.lost or self.doubled or self.reordered or self.wrong)

    def percentile(self, share: float) -> float:
        """Return the latency within which this share of endings arrived; NaN without endings."""
        return percentile(self.latencies, share) if self.latencies else math.nan

    def find(self, kind: str, why: str) -> None:
        """Count a finding."""
        setattr(self, kind, getattr(self, kind) + 1)
        self.findings.append(f"{kind} {why}")


def judge(
    truths: dict[str, Truth],
    clients: dict[str, tuple[Collection[str], Sequence[Callback]]],
    *,
    may_stall: Collection[str] = (),
    not_before: float = 0.0,
) -> Verdict:
    """Compare how tasks ended with the callbacks of each client.

    `clients` maps a client's name to the tasks it watches and its callbacks, in their order.
    Only the tasks in `may_stall` may have been STALLED or LOST. No latency is counted from before
    `not_before`, the moment when the clients connected.
    """
    verdict = Verdict(tasks=len(truths))
    for client, (watched, callbacks) in clients.items():
        stories: dict[str, list[Callback]] = {task: [] for task in watched}
        for callback in callbacks:
            stories.setdefault(callback.task, []).append(callback)
        for task, story in stories.items():
            truth, allowed = truths.get(task), task in may_stall
            for kind, why in _faults(truth, story, allowed):
                shown = " ".join(f"v{x.version}:{x.run}.{x.attempt}:{x.state}" for x in story)
                where = f"client={client} task={task}"
                verdict.find(kind, f"{where} {why} truth={truth} shown=[{shown}]")
            if truth is not None and story and story[-1].state == truth.state:
                verdict.latencies.append(max(0.0, story[-1].at - max(truth.at, not_before)))
    return verdict


def _faults(
    truth: Truth | None, story: list[Callback], may_stall: bool
) -> Iterator[tuple[str, str]]:
    versions = [(one.epoch, one.run, one.version) for one in story]
    endings = [(one.run, one.attempt, one.state) for one in story if one.state in TERMINAL]
    if len(set(versions)) < len(versions) or len(set(endings)) < len(endings):
        yield "doubled", "a version or an ending was delivered twice"
    if not _is_in_order(story):
        yield "reordered", "an older status was delivered after a newer one"
    if not may_stall and any(one.state in (STALLED, LOST) for one in story):
        yield "wrong", "it was called stalled or lost"
    if truth is None:
        yield "wrong", "it has not ended"
    elif not story or story[-1].state not in TERMINAL:
        yield "lost", "the ending was not delivered"
    elif story[-1].state != truth.state:
        yield "wrong", "another ending was delivered"
    elif truth.state == SUCCESS and story[-1].result != truth.result:
        yield "wrong", f"another result was delivered: {story[-1].result!r}"
    elif not truth.is_noted and story[-1].at < truth.at - SAME_TIME:
        early = truth.at - story[-1].at
        yield "wrong", f"the ending was delivered {early:.3f} s before the task ended"


def _is_in_order(story: list[Callback]) -> bool:
    """Whether versions rise, nothing follows a SUCCESS, and each attempt goes forward."""
    for i, one in enumerate(story):
        if one.state == SUCCESS and i < len(story) - 1:
            return False
    for _epoch, group in groupby(story, key=lambda one: one.epoch):
        for earlier, later in pairwise(group):
            if later.version <= earlier.version:
                return False
            before, after = (earlier.run, earlier.attempt), (later.run, later.attempt)
            if after < before:
                return False
            # STALLED replaces a running state, until STARTED; or until RECEIVED, if the message
            # is delivered again.
            lifted = earlier.state == STALLED and later.state in (STARTED, RECEIVED)
            overlay = later.state == STALLED or lifted
            if after == before and not overlay and _rank(later) < _rank(earlier):
                return False
    return True


def _rank(callback: Callback) -> int:
    return rank(STARTED) if callback.state == STALLED else rank(callback.state)
