"""Canvases: chains, groups and chords of every shape, and every way in which one breaks off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from celery import chain, chord, group

from realtime.core.states import FAILURE, REVOKED, SUCCESS
from realtime.ownership import owner_from

from .batch import Batch, batch
from .family import Outcome, fault
from .oracle import Truth, Verdict
from .stage import Stage, require

#: Seconds in which a revocation reaches the worker, before the task runs.
REVOKED_WITHIN = 2.0
#: Of a task without a stored result.
NOTHING = "nothing"
#: Celery may store an attempt's RETRY after the next one's ending.
ANYTHING = "anything"


@dataclass
class Expected:
    """How a task ends that cannot write its outcome."""

    state: str
    #: The task whose ending is its own; without one, it ends by itself.
    cause: str = ""
    result: Any = None


@dataclass
class Plan:
    """Gives a batch's ids to the members of one canvas, and notes how they will end."""

    made: Batch
    expected: dict[str, Expected] = field(default_factory=dict)
    #: The state in the result backend, where it differs.
    stored: dict[str, str] = field(default_factory=dict)
    #: Revoked at once, and as soon as they run.
    waiting: set[str] = field(default_factory=set)
    running: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        #: Seconds until a task may run that is revoked before.
        self.later = REVOKED_WITHIN * self.made.stage.slack

    def does(self, task: Any, *args: Any, **options: Any) -> Any:
        """A member that runs, and writes its own outcome."""
        task_id = self.made.ids[len(self.made.sent)]
        self.made.sent.append(task_id)
        return task.si(*args).set(task_id=task_id, **options)

    def retries(self, task: Any) -> Any:
        """The same, of one that is retried twice."""
        signature = self.does(task, 2)
        self.stored[signature.id] = ANYTHING
        return signature

    def ends(self, signature: Any, state: str, *, result: Any = None, stored: str = "") -> Any:
        """A member that ends so, and cannot write its outcome."""
        return self._expect(signature, Expected(state, result=result), stored)

    def never(self, cause: Any, state: str = FAILURE, *, stored: str = "") -> Any:
        """A member that never runs, because `cause` did not succeed."""
        signature = self.does(self.made.stage.tasks.noop, "never")
        return self._expect(signature, Expected(state, cause=cause.id), stored)

    def _expect(self, signature: Any, expected: Expected, stored: str) -> Any:
        self.expected[signature.id] = expected
        if stored:
            self.stored[signature.id] = stored
        return signature

    def revoked(self, signature: Any, *, running: bool = False) -> Any:
        """A member that is revoked as soon as the canvas is published, or when it runs."""
        (self.running if running else self.waiting).add(signature.id)
        return self.ends(signature, REVOKED)

    def note(self) -> bool:
        """Note the known outcomes in the oracle; return whether all are known."""
        oracle = self.made.stage.oracle
        for task_id, one in list(self.expected.items()):
            if one.cause and one.cause not in oracle.truths:
                continue
            at = oracle.truths[one.cause].at if one.cause else time.monotonic()
            oracle.truths[task_id] = Truth(at, one.state, one.result, is_noted=True)
            del self.expected[task_id]
        return not self.expected


# Each yields the canvases of its kind.


def chains(p: Plan, t: Any) -> Iterator[Any]:
    """A chain that a link breaks, in each way in which a task can fail to succeed."""
    for broken in (
        p.does(t.fail), p.retries(t.retry_and_fail), p.does(t.exceed_hard), p.does(t.vanish),
        p.does(t.leave), p.does(t.reject), p.does(t.return_what_no_json_can_say),
    ):  # fmt: skip
        yield chain(p.does(t.noop, 1), broken, p.never(broken), p.never(broken))
    first = p.does(t.fail)
    yield chain(first, p.never(first), p.never(first))
    # Celery stores nothing of what follows a task that is revoked or ignored.
    for broken in (
        p.ends(p.does(t.ignore), REVOKED, stored="STARTED"),
        p.ends(p.does(t.noop, 1, expires=-1), REVOKED),
        p.revoked(p.does(t.noop, 1, countdown=p.later)),
        p.revoked(p.does(t.work, 300.0), running=True),
    ):
        yield chain(broken, *(p.never(broken, REVOKED, stored=NOTHING) for _ in range(2)))
    place = p.ends(p.does(t.noop, 1), FAILURE).id
    # Celery stores nothing of what waits for it.
    unknown = p.made.stage.app.signature("nobody.wrote.this", immutable=True).set(task_id=place)
    yield chain(unknown, p.never(unknown, stored=NOTHING), p.never(unknown, stored=NOTHING))
    later = p.revoked(p.does(t.noop, 1))
    yield chain(p.does(t.work, p.later), later, p.never(later, REVOKED, stored=NOTHING))
    yield chain(p.retries(t.retry), p.retries(t.retry_by_itself), p.does(t.noop, 1))


def chords(p: Plan, t: Any) -> Iterator[Any]:
    """A chord of which a part, or the body, does not succeed."""
    yield chord([p.does(t.noop, 1), p.retries(t.retry)], p.does(t.noop, 2))
    part = p.does(t.fail)
    yield chord([p.does(t.noop, 1), part], p.never(part))
    part = p.does(t.vanish)
    yield chord([p.does(t.noop, 1), part], p.never(part))
    part = p.revoked(p.does(t.noop, 1, countdown=p.later))
    yield chord([p.does(t.noop, 1), part], p.never(part, FAILURE))
    yield chord([p.does(t.work, p.later), p.does(t.noop, 1)], p.revoked(p.does(t.noop, 2)))
    part = p.does(t.fail)
    yield chord([p.does(t.noop, 1), chain(part, p.never(part))], p.never(part))
    part = p.does(t.fail)  # Celery stores only the last link of such a body
    yield chord([p.does(t.noop, 1), part], chain(p.never(part, stored=NOTHING), p.never(part)))


def nested(p: Plan, t: Any) -> Iterator[Any]:
    """Canvases inside of others."""
    link = p.does(t.fail)
    yield group(
        chain(p.does(t.noop, 1), link, p.never(link)), chain(p.does(t.noop, 1), p.does(t.noop, 2))
    )
    yield group(p.does(t.noop, 1), p.revoked(p.does(t.noop, 1, countdown=p.later)))
    # A group in a chain becomes a chord. What Celery has not made yet, it does not store.
    yield chain(
        p.does(t.noop, 1), group(p.does(t.noop, 2), p.does(t.noop, 3)), p.does(t.noop, 4),
        p.does(t.noop, 5),
    )  # fmt: skip
    first = p.does(t.fail)
    parts = [p.never(first, stored=NOTHING) for _ in range(2)]
    yield chain(first, group(parts), p.never(first), p.never(first))
    first = p.does(t.fail)
    yield chain(first, group(p.never(first, stored=NOTHING) for _ in range(2)))
    part = p.does(t.fail)
    yield chain(p.does(t.noop, 1), group(p.does(t.noop, 2), part), p.never(part), p.never(part))
    part = p.does(t.fail)
    yield chain(p.does(t.noop, 1), chord([p.does(t.noop, 2), part], p.never(part)), p.never(part))
    part = p.does(t.fail)
    later = chord([p.never(part, stored=NOTHING) for _ in range(2)], p.never(part))
    yield chain(chord([p.does(t.noop, 1), part], p.never(part)), later)
    yield chain(
        chord([p.does(t.noop, 1), p.does(t.noop, 2)], p.does(t.noop, 3)),
        chord([p.does(t.noop, 4), p.does(t.noop, 5)], p.does(t.noop, 6)),
    )
    part = p.does(t.fail)
    inner = chord([p.does(t.noop, 1), part], p.never(part))
    # Celery leaves such a body to wait for ever, since the inner one never was a task that ran.
    yield chord([inner, p.does(t.noop, 2)], p.never(part, stored=NOTHING))


def replaced(p: Plan, t: Any) -> Iterator[Any]:
    """Links that put something else in their place."""
    for how in ("task", "chain"):
        yield chain(p.does(t.noop, 1), p.does(t.replace_by, how), p.does(t.noop, 2))
    both = p.ends(p.does(t.replace_by, "group"), SUCCESS, result=["a", "b"])
    yield chain(p.does(t.noop, 1), both, p.does(t.noop, 2))
    broken = p.ends(p.does(t.replace_by, "broken chain"), FAILURE)
    yield chain(p.does(t.noop, 1), broken, p.never(broken))
    broken = p.ends(p.does(t.replace_by, "broken group"), FAILURE)
    yield chord([p.does(t.noop, 1), broken], p.never(broken, stored=NOTHING))


def linked(p: Plan, t: Any) -> Iterator[Any]:
    """Callbacks, and one task for many calls."""
    yield p.does(t.fail).on_error(p.does(t.noop, "called"))
    last = p.does(t.fail)
    yield chain(p.does(t.noop, 1), last).on_error(p.does(t.noop, "called"))
    called = p.does(t.noop, 1)
    called.link(p.does(t.noop, 2))
    yield called
    many = p.does(t.noop, 0)
    mapped = t.add.starmap([(1, 2), (3, 4)]).set(task_id=many.id)
    yield p.ends(mapped, SUCCESS, result=[3, 7])
    pieces = [p.ends(p.does(t.noop, 0), SUCCESS, result=[n + n]) for n in range(2)]
    chunks = t.add.chunks(((n, n) for n in range(2)), 1).group()
    yield group(c.set(task_id=piece.id) for c, piece in zip(chunks.tasks, pieces, strict=True))


KINDS: tuple[Callable[[Plan, Any], Iterator[Any]], ...] = (
    chains, chords, nested, replaced, linked
)  # fmt: skip
#: Tasks of one round.
ROUND = 147


class Canvases:
    """The row of canvases, for a family with a worker and a web process."""

    stage: Stage
    url: str

    @fault("7b", "canvases in which a task does not succeed", short=ROUND, long=5 * ROUND)
    def canvases(self, size: int) -> Outcome:
        total, outcome = Verdict(), Outcome(Verdict())
        for _ in range(size // ROUND):
            # Without the owner's topic: it has the tasks that replace others, too.
            with batch(self.stage, ROUND, self.url, owner=False) as made:
                plan = Plan(made)
                self._play(plan)
                assert len(made.sent) == ROUND, len(made.sent)
                total.add(made.judge(unlike_backend=plan.stored, deliver=20))
                stored = self.stage.stored(made.sent)
                for task_id, truth in self.stage.oracle.truths.items():
                    if task_id in made.sent:
                        wanted = plan.stored.get(task_id, truth.state)
                        found = stored.get(task_id, {}).get("status", NOTHING)
                        problem = f"{task_id}: the backend has {found} instead of {wanted}"
                        outcome.require(wanted in (found, ANYTHING), problem)
        outcome.verdict = total
        return outcome

    def _play(self, plan: Plan) -> None:
        """Publish every canvas, and do to its members what has to be done."""
        made, oracle, control = plan.made, self.stage.oracle, self.stage.app.control
        with owner_from(lambda: made.owner):
            for kind in KINDS:
                for canvas in kind(plan, self.stage.tasks):
                    canvas.apply_async()
                    if plan.waiting:  # at once: it does not wait for long
                        control.revoke(list(plan.waiting))
                        plan.waiting.clear()

        def revoke_what_runs() -> bool:
            for task_id in plan.running & oracle.begun.keys():
                control.revoke(task_id, terminate=True)
                plan.running.discard(task_id)
            return plan.note() and not plan.running

        require(made.until(revoke_what_runs, 60), "the canvases did not end")
