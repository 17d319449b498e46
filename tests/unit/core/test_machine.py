"""The rules of `core` where changes and messages are lost, duplicated and reordered, runs overlap,
and the store is emptied.

The long form is `make machine`: 10,000 examples.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from realtime.core.change import Change
from realtime.core.decide import Accepted, decide
from realtime.core.position import Position, Step, step
from realtime.core.states import SUCCESS, TERMINAL

HISTORY = 4


class Store:
    """What a store does with an accepted change, for one task."""

    def __init__(self) -> None:
        self.epochs = 0
        self.empty()

    def empty(self) -> None:
        self.epochs += 1
        self.kept: Accepted | None = None
        self.log: list[Accepted] = []
        self.offset = 0

    @property
    def position(self) -> Position:
        return Position(f"e{self.epochs}", self.offset)

    def accept(self, change: Change) -> tuple[Position, Accepted] | None:
        kept = decide(self.kept, change)
        if kept is None:
            return None
        self.kept = kept
        self.offset += 1
        self.log.append(kept)
        return self.position, kept

    def read(self, since: Position | None) -> tuple[bool, list[tuple[Position, Accepted]]]:
        """The missed events, if each one is kept; else the current status."""
        if since is not None and since.epoch == self.position.epoch:
            missed = self.offset - since.offset
            if 0 <= missed <= min(len(self.log), HISTORY):
                first = self.offset - missed + 1
                tail = self.log[len(self.log) - missed :]
                places = (Position(since.epoch, first + n) for n in range(missed))
                return True, list(zip(places, tail, strict=True))
        return False, [(self.position, self.kept)] if self.kept else []


class World(RuleBasedStateMachine):
    """One task, its runs, the store, and one subscriber."""

    @initialize()
    def begin(self) -> None:
        self.store = Store()
        self.publications = 0
        self.publication = ""
        self.changes: list[Change] = []
        self.it_is_published()
        self.messages: list[tuple[Position, Accepted]] = []
        self.runs = 0
        self.attempt = 0
        self.counters: dict[str, int] = {}
        self.attempts: dict[str, int] = {}
        self.published: dict[str, str] = {}
        self.reports = 0
        self.last: Position | None = self.store.position
        self.called: list[tuple[Position, Accepted]] = []

    # What Celery does

    @rule()
    def it_is_published(self) -> None:
        self.publications += 1
        self.publication, self.attempt = f"p{self.publications}", 0
        self._publish("PENDING", attempt=0)

    @rule(worker=st.sampled_from(["", "w", "v"]))
    def a_worker_receives_it(self, worker: str) -> None:
        self._publish("RECEIVED", attempt=self.attempt, worker=worker)

    def _publish(self, state: str, **more: object) -> None:
        change = Change(task_id="t", state=state, publication=self.publication, **more)  # type: ignore[arg-type]
        self.changes.append(change)

    @rule()
    def a_run_begins(self) -> None:
        self.runs += 1
        run_id = f"r{self.runs}"
        self.counters[run_id], self.attempts[run_id] = 0, self.attempt
        self.published[run_id] = self.publication
        self._publish_of_run(run_id, "STARTED")

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def a_run_reports(self, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.counters)))
        self.counters[run_id] += 1
        self._publish_of_run(run_id, "PROGRESS", counter=self.counters[run_id])

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), state=st.sampled_from([SUCCESS, "FAILURE", "RETRY"]))
    def a_run_ends(self, data: st.DataObject, state: str) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.counters)))
        self._publish_of_run(run_id, state, stored=state == SUCCESS)
        if state == "RETRY" and self.published[run_id] == self.publication:
            self.attempt = max(self.attempt, self.attempts[run_id] + 1)

    @rule(state=st.sampled_from(["REVOKED", "FAILURE"]))
    def another_process_ends_it(self, state: str) -> None:
        self.changes.append(Change(task_id="t", state=state))

    @rule(sender=st.sampled_from(["", "s", "t"]))
    def another_process_reports_on_it(self, sender: str) -> None:
        self.reports += 1
        change = Change(task_id="t", state="PROGRESS", sender=sender, counter=self.reports)
        self.changes.append(change)

    @rule(state=st.sampled_from(["STALLED", "LOST", "STARTED"]))
    def the_reconciler_publishes(self, state: str) -> None:
        run_id = self.store.kept.run_id if self.store.kept else ""
        self.changes.append(Change(task_id="t", state=state, run_id=run_id))

    def _publish_of_run(self, run_id: str, state: str, **more: object) -> None:
        change = Change(
            task_id="t", state=state, run_id=run_id, begins=state == "STARTED",
            attempt=self.attempts[run_id], publication=self.published[run_id],
            **more,  # type: ignore[arg-type]
        )  # fmt: skip
        self.changes.append(change)

    # How its changes and messages are delivered

    @precondition(lambda self: self.changes)
    @rule(data=st.data(), again=st.booleans())
    def a_change_arrives_at_the_store(self, data: st.DataObject, again: bool) -> None:
        number = data.draw(st.integers(0, len(self.changes) - 1))
        change = self.changes[number] if again else self.changes.pop(number)
        message = self.store.accept(change)
        if message is not None:
            self.messages.append(message)

    @precondition(lambda self: self.changes)
    @rule(data=st.data())
    def a_change_is_lost(self, data: st.DataObject) -> None:
        self.changes.pop(data.draw(st.integers(0, len(self.changes) - 1)))

    @rule()
    def the_store_is_emptied(self) -> None:
        self.store.empty()

    @precondition(lambda self: self.messages)
    @rule(data=st.data(), again=st.booleans())
    def a_message_arrives_at_the_subscriber(self, data: st.DataObject, again: bool) -> None:
        number = data.draw(st.integers(0, len(self.messages) - 1))
        position, kept = self.messages[number] if again else self.messages.pop(number)
        match step(self.last, position):
            case Step.DELIVER:
                self._call(position, kept)
            case Step.GAP:
                self._repair()

    @precondition(lambda self: self.messages)
    @rule(data=st.data())
    def a_message_is_lost(self, data: st.DataObject) -> None:
        self.messages.pop(data.draw(st.integers(0, len(self.messages) - 1)))

    @rule()
    def the_subscriber_checks_its_position(self) -> None:
        if self.store.position != self.last:
            self._repair()

    def _repair(self) -> None:
        recovered, found = self.store.read(self.last)
        for position, kept in found:
            self._call(position, kept)
        if not recovered:
            self.last = self.store.position

    def _call(self, position: Position, kept: Accepted) -> None:
        self.last = position
        self.called.append((position, kept))

    # What is promised

    @invariant()
    def offsets_rise_and_nothing_is_called_back_twice(self) -> None:
        places = [position for position, _ in self.called]
        assert len(set(places)) == len(places)
        assert places == sorted(places, key=lambda place: (int(place.epoch[1:]), place.offset))

    @invariant()
    def nothing_follows_success_in_its_life_and_the_order_only_rises(self) -> None:
        for (place, before), (next_place, after) in zip(self.called, self.called[1:], strict=False):
            if place.epoch != next_place.epoch:
                continue
            order = (before.run, before.attempt, before.rank, before.counter)
            following = (after.run, after.attempt, after.rank, after.counter)
            if after.lives > before.lives:
                assert after.run > before.run
                assert after.publication not in (before.publication, *before.publications)
                continue
            assert before.state != SUCCESS
            reported = following == order and before.state not in TERMINAL
            overruled = after.state == SUCCESS and before.state in TERMINAL
            assert following > order or overruled or reported

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        self.the_subscriber_checks_its_position()
        known = self.called[-1] if self.called else None
        if self.store.kept is None:
            assert known is None or known[0].epoch != self.store.position.epoch
        else:
            assert known == (self.store.position, self.store.kept)


World.TestCase.settings = settings(
    max_examples=int(os.environ.get("EXAMPLES", "200")),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestWorld = World.TestCase
