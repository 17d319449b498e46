"""Decides whether a change is new or stale. Clocks never decide.

``store/lua/decide.lua`` has the same rule for Redis; ``tests/cases/acceptance.json`` tests both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from .change import Change
from .states import CUSTOM_RANK, RECEIVED, STALLED, STARTED, SUCCESS, TERMINAL_RANK, rank

#: Run ids that a record remembers, so that changes of earlier runs stay stale.
RUN_IDS_KEPT: Final = 8
#: Older publications that a record remembers, so that their changes stay stale.
PUBLICATIONS_KEPT: Final = 8
#: Processes that report on a run, whose last numbers a record remembers.
SENDERS_KEPT: Final = 16


@dataclass(frozen=True, slots=True)
class Accepted:
    """The result of a task's accepted changes, as far as the next change is compared with it.

    Without a state it is the rest of a forgotten task: later changes of its publications are stale.
    """

    state: str
    run: int = 1
    attempt: int = 0
    #: The rank of the last change that has one. STALLED and reports of other processes have none:
    #: they replace only the state.
    rank: int = 0
    counter: int = 0
    run_id: str = ""
    #: The ids of this task's runs, newest last.
    run_ids: tuple[str, ...] = ()
    #: The current publication; empty until a change names one.
    publication: str = ""
    #: Older publications, newest last.
    publications: tuple[str, ...] = ()
    #: How often a later publication began a new life.
    lives: int = 0
    #: Other processes that reported on the run, and their last numbers, newest last.
    senders: tuple[tuple[str, int], ...] = ()
    #: The lease of the worker that received the task or runs it.
    worker: str = ""


def decide(kept: Accepted | None, change: Change) -> Accepted | None:
    """Return the record's new data if the change is new, or None if it is stale."""
    if kept is None:
        return _first(change)
    if change.publication in ("", kept.publication):
        return _continue(kept, change) if kept.state else None
    if change.publication in kept.publications:
        return None
    if kept.publication or not kept.state or _repeats(kept, change):
        return _new_life(kept, change)
    return _continue(replace(kept, publication=change.publication), change)


def forget(kept: Accepted) -> Accepted:
    """Return the rest of a task that is forgotten."""
    return Accepted(
        "",
        run=0,
        run_ids=kept.run_ids,
        publication=kept.publication,
        publications=kept.publications,
        lives=kept.lives,
    )


def _first(change: Change) -> Accepted | None:
    """Accept the first change of a task, or of a new life."""
    if change.state in ("", STALLED):
        return None
    empty = Accepted("", publication=change.publication)
    if _is_foreign(change):
        return _report(empty, change)
    return _accepted(empty, change, 1, change.attempt or 0, change.counter or 0)


def _new_life(kept: Accepted, change: Change) -> Accepted | None:
    """Begin the life of a later publication, once the last life has ended or its run starts.

    Run ids and senders' numbers are kept across lives: stale changes stay stale.
    """
    over = not kept.state or kept.rank == TERMINAL_RANK
    fresh = _first(change) if over or change.begins else None
    if fresh is None or (change.run_id and change.run_id in kept.run_ids):
        return None
    older = (*kept.publications, kept.publication) if kept.publication else kept.publications
    return replace(
        fresh,
        run=kept.run + 1,
        run_ids=(*kept.run_ids, *fresh.run_ids)[-RUN_IDS_KEPT:],
        publications=older[-PUBLICATIONS_KEPT:],
        lives=kept.lives + 1,
        senders=_numbered(kept.senders, change) if _is_foreign(change) else kept.senders,
    )


def _repeats(kept: Accepted, change: Change) -> bool:
    """Return whether a run starts after a SUCCESS whose publication is not known.

    An ending may be that same SUCCESS, found in the result backend after the store lost the task.
    """
    return kept.state == SUCCESS and change.begins and rank(change.state) != TERMINAL_RANK


def _continue(kept: Accepted, change: Change) -> Accepted | None:
    """Accept a change within one life."""
    if not change.state:
        return kept if kept.rank < TERMINAL_RANK else None
    if kept.state == SUCCESS:
        return None
    if change.state == STALLED:
        return replace(kept, state=STALLED) if _can_stall(kept, change) else None
    if kept.state == STALLED and (lifted := _lifted(kept, change)):
        return lifted
    if _is_foreign(change):
        return _report(kept, change)

    run, current = kept.run, kept.attempt
    attempt = current if change.attempt is None else change.attempt
    if attempt < current:
        return None
    ended = kept.rank == TERMINAL_RANK
    if change.run_id and change.run_id != kept.run_id:
        begun = bool(kept.run_id) or ended
        # If no run has begun, the store may have gone back to before this run.
        if (begun and not change.begins) or change.run_id in kept.run_ids:
            return None  # an earlier run, or one that never published its start
        if attempt == current and begun:
            run += 1  # the same attempt begins again: its message was redelivered

    new_rank = rank(change.state)
    counter = 0
    if new_rank == CUSTOM_RANK:
        following = kept.counter + 1 if kept.rank == CUSTOM_RANK else 1
        counter = following if change.counter is None else change.counter
    overruled = change.stored and change.state == SUCCESS and ended
    if overruled or (run, attempt, new_rank, counter) > (
        kept.run,
        current,
        kept.rank,
        kept.counter,
    ):
        return _accepted(kept, change, run, attempt, counter)
    return None


def _is_foreign(change: Change) -> bool:
    """Return whether another process reports on a run: ``update_state(task_id=…)``."""
    return rank(change.state) == CUSTOM_RANK and not change.run_id


def _report(kept: Accepted, change: Change) -> Accepted | None:
    """Accept another process' report. Reports have an order of their own, by sender and number.

    A report does not show that the run's worker is alive, so STALLED stays.
    """
    older = change.attempt is not None and change.attempt < kept.attempt
    if older or kept.rank > CUSTOM_RANK:
        return None
    last = dict(kept.senders).get(change.sender)
    if last is not None and change.counter is not None and change.counter <= last:
        return None
    state = STALLED if kept.state == STALLED else change.state
    return replace(kept, state=state, senders=_numbered(kept.senders, change))


def _numbered(senders: tuple[tuple[str, int], ...], change: Change) -> tuple[tuple[str, int], ...]:
    if not change.sender or change.counter is None:
        return senders  # a release before this one sends no numbers
    others = [each for each in senders if each[0] != change.sender]
    return (*others, (change.sender, change.counter))[-SENDERS_KEPT:]


def _can_stall(kept: Accepted, change: Change) -> bool:
    """Return whether STALLED may replace the state, until the run's next change."""
    is_with_worker = rank(RECEIVED) <= kept.rank <= CUSTOM_RANK and kept.state != STALLED
    return is_with_worker and change.run_id == kept.run_id


def _lifted(kept: Accepted, change: Change) -> Accepted | None:
    """Return the new data of a stalled task if its worker answers, or another received it."""
    state = STARTED if kept.rank >= rank(STARTED) else RECEIVED
    if change.state == STARTED and change.run_id == kept.run_id:
        return replace(kept, state=state)  # its worker answers
    # A run's own RECEIVED is judged as any change of a run is.
    if change.state != RECEIVED or change.run_id or change.attempt not in (None, kept.attempt):
        return None
    if change.worker == kept.worker:
        return replace(kept, state=state)
    # Redelivered to another worker: the next change begins a new run.
    return replace(kept, state=RECEIVED, worker=change.worker) if change.worker else None


def _accepted(kept: Accepted, change: Change, run: int, attempt: int, counter: int) -> Accepted:
    run_id, run_ids = kept.run_id, kept.run_ids
    if change.run_id:
        if change.run_id != run_id:
            run_ids = (*run_ids, change.run_id)[-RUN_IDS_KEPT:]
        run_id = change.run_id
    elif attempt > kept.attempt:
        run_id = ""  # the next attempt has not begun yet; the last attempt's run publishes no more
    named = change.worker or change.state == RECEIVED
    return replace(
        kept,
        state=change.state,
        run=run,
        attempt=attempt,
        rank=rank(change.state),
        counter=counter,
        run_id=run_id,
        run_ids=run_ids,
        worker=change.worker if named else kept.worker,
    )
