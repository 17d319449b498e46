"""Accepting a change: what is news, and what is stale. Clocks never decide.

``store/lua/accept.lua`` is the same rule for Redis; ``tests/cases/acceptance.json`` holds both
to one table of cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, NamedTuple

from .states import CUSTOM_RANK, RECEIVED, STALLED, STARTED, SUCCESS, TERMINAL_RANK, rank

#: How many run ids a record remembers: a run that was overtaken stays overtaken.
RUN_IDS_KEPT: Final = 8
#: How many older publications a record remembers: their messages change nothing any more.
PUBLICATIONS_KEPT: Final = 8
#: Of how many processes that report from outside of the run it remembers the last number.
SENDERS_KEPT: Final = 16


class Dependent(NamedTuple):
    """A task that waits for another one: a later link of its chain, or its chord's body."""

    task_id: str
    name: str


class Change(NamedTuple):
    """One word about one task, before anybody decided whether it is news. By keywords alone.

    ``fields`` holds JSON text by status key. Some words come from beside the run (the publisher,
    the worker's parent process, the reconciler): they carry no ``run_id`` and speak of whichever
    run is the current one.
    """

    task_id: str
    #: Empty where the word changes no state, as "somebody asked to cancel it" does not.
    state: str = ""
    #: Retries so far; None for whichever is current.
    attempt: int | None = None
    #: Names the run that speaks; made when the run begins.
    run_id: str = ""
    #: Whether nothing of this run has been accepted yet, so that its ``run_id`` may be a new one.
    begins: bool = False
    #: Orders the custom states of one run, or of one ``sender``; None for the next one.
    counter: int | None = None
    #: Names a process that reports on a run from outside of it (``update_state(task_id=…)``) and
    #: numbers its updates; empty for the run itself.
    sender: str = ""
    #: Names the publication that the message belongs to; empty where the caller cannot know it.
    publication: str = ""
    #: Found in the result backend. A SUCCESS stored there overrules another ending.
    stored: bool = False
    #: Whose task it is: the ident of a ``user:`` topic, or empty.
    owner: str = ""
    #: The lease of the worker that runs it, told when the run begins.
    worker: str = ""
    #: Seconds that the run, once stalled, may still be delivered again; told with ``worker``.
    redelivery_timeout: int = 0
    #: The tasks that wait for this one, which never run if it is lost: see :class:`Dependent`.
    dependents: tuple[Dependent, ...] = ()
    fields: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a record remembers in order to judge the next change.

    One without a state is what remains of a task that was forgotten: it refuses what the
    publications that it names still send.
    """

    state: str
    run: int = 1
    attempt: int = 0
    #: Of the last change that took a place in the order. STALLED and what others report of a run
    #: take none: they are laid over it.
    rank: int = 0
    counter: int = 0
    run_id: str = ""
    #: The ids of this task's runs, newest last.
    run_ids: tuple[str, ...] = ()
    #: The publication whose life this is; empty where nothing has named one yet.
    publication: str = ""
    #: Older publications, newest last.
    publications: tuple[str, ...] = ()
    #: How often a later publication began a new life.
    lives: int = 0
    #: Processes that reported from outside of the run, and their last numbers, newest last.
    senders: tuple[tuple[str, int], ...] = ()
    #: The lease of the worker that holds it or runs it.
    worker: str = ""


def decide(kept: Accepted | None, change: Change) -> Accepted | None:
    """Return what to remember if the change is news, and None if it is stale."""
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
    """Return what remains of a task that is forgotten."""
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
    return _remember(empty, change, 1, change.attempt or 0, change.counter or 0)


def _new_life(kept: Accepted, change: Change) -> Accepted | None:
    """Let a later publication take the task over, once the last life has ended or its run starts.

    Run ids and senders' numbers are remembered across lives: what was late stays late.
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

    Only a start tells: an ending may be that SUCCESS itself, which somebody found in the result
    backend after the store had lost the task.
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
        # Where none has begun, the store may have gone back to before this one did.
        if (begun and not change.begins) or change.run_id in kept.run_ids:
            return None  # a run that was overtaken, or never announced
        if attempt == current and begun:
            run += 1  # the same attempt begins anew: its message was delivered again

    mine = rank(change.state)
    counter = 0
    if mine == CUSTOM_RANK:
        following = kept.counter + 1 if kept.rank == CUSTOM_RANK else 1
        counter = following if change.counter is None else change.counter
    overruled = change.stored and change.state == SUCCESS and ended
    if overruled or (run, attempt, mine, counter) > (kept.run, current, kept.rank, kept.counter):
        return _remember(kept, change, run, attempt, counter)
    return None


def _is_foreign(change: Change) -> bool:
    """Return whether another process reports on a run: ``update_state(task_id=…)``."""
    return rank(change.state) == CUSTOM_RANK and not change.run_id


def _report(kept: Accepted, change: Change) -> Accepted | None:
    """Accept what another process reports. It has an order of its own, by sender and number.

    It does not say that the run's worker is alive, so that STALLED stays.
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
    """STALLED is laid over what a worker holds or runs, and the run's next change lifts it."""
    held = rank(RECEIVED) <= kept.rank <= CUSTOM_RANK and kept.state != STALLED
    return held and change.run_id == kept.run_id


def _lifted(kept: Accepted, change: Change) -> Accepted | None:
    """Return what a stalled task becomes where its worker answers again, or another has it."""
    state = STARTED if kept.rank >= rank(STARTED) else RECEIVED
    if change.state == STARTED and change.run_id == kept.run_id:
        return replace(kept, state=state)  # its worker answers again
    if change.state != RECEIVED or change.attempt not in (None, kept.attempt):
        return None
    if change.worker == kept.worker:
        return replace(kept, state=state)
    # Delivered again, to another worker: its run begins a new one.
    return replace(kept, state=RECEIVED, worker=change.worker) if change.worker else None


def _remember(kept: Accepted, change: Change, run: int, attempt: int, counter: int) -> Accepted:
    run_id, run_ids = kept.run_id, kept.run_ids
    if change.run_id:
        if change.run_id != run_id:
            run_ids = (*run_ids, change.run_id)[-RUN_IDS_KEPT:]
        run_id = change.run_id
    elif attempt > kept.attempt:
        run_id = ""  # the next attempt has not begun yet; the last one's run has no more to say
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
