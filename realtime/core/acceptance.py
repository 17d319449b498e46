"""Accepting a change: what is news, and what is stale. Clocks never decide.

``broker/accept.lua`` is the same rule for Redis; ``tests/cases/acceptance.json`` holds both to one
table of cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, NamedTuple

from .states import CUSTOM_RANK, STALLED, STARTED, SUCCESS, TERMINAL_RANK, rank

#: How many run tokens a record remembers: a run that was overtaken stays overtaken.
TOKENS_KEPT: Final = 8


class Follower(NamedTuple):
    """A task that waits for another one: a later link of its chain, or its chord's body."""

    task_id: str
    name: str


class Change(NamedTuple):
    """One word about one task, before anybody decided whether it is news. By keywords alone.

    ``fields`` holds JSON text by status key. Some words come from beside the run (the publisher,
    the worker's parent process, the reconciler): they carry no ``token`` and speak of whichever
    run is the current one.
    """

    task_id: str
    #: Empty where the word changes no state, as "somebody asked to cancel it" does not.
    state: str = ""
    #: Retries so far; None for whichever is current.
    attempt: int | None = None
    #: Names the run that speaks; made when the run begins.
    token: str = ""
    #: Whether nothing of this run has been accepted yet, so that its token may be a new one.
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
    patience: int = 0
    #: The tasks that wait for this one, which never run if it is lost: see :class:`Follower`.
    followers: tuple[Follower, ...] = ()
    fields: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Kept:
    """What a record remembers in order to judge the next change."""

    state: str
    run: int = 1
    attempt: int = 0
    #: Of the last word that took a place in the order, as STALLED does not.
    rank: int = 0
    counter: int = 0
    token: str = ""
    #: The tokens of this task's runs, newest last.
    tokens: tuple[str, ...] = ()


def accept(kept: Kept | None, change: Change) -> Kept | None:
    """Return what to remember if the change is news, and None if it is stale."""
    if not change.state:
        return kept if kept is not None and kept.rank < TERMINAL_RANK else None
    if kept is None:
        if change.state == STALLED:
            return None
        return _remember(Kept(""), change, 1, change.attempt or 0, change.counter or 0)
    if kept.state == SUCCESS:
        return None
    if change.state == STALLED:
        return replace(kept, state=STALLED) if _can_stall(kept, change) else None
    if change.state == STARTED and kept.state == STALLED and change.token == kept.token:
        return replace(kept, state=STARTED)  # its worker answers again

    run, current = kept.run, kept.attempt
    attempt = current if change.attempt is None else change.attempt
    if attempt < current:
        return None
    ended = kept.rank == TERMINAL_RANK
    if change.token and change.token != kept.token:
        begun = bool(kept.token) or ended
        # Where none has begun, the store may have gone back to before this one did.
        if (begun and not change.begins) or change.token in kept.tokens:
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


def _can_stall(kept: Kept, change: Change) -> bool:
    """STALLED is laid over a running state, and the run's next word lifts it."""
    running = rank(STARTED) <= kept.rank <= CUSTOM_RANK and kept.state != STALLED
    return running and change.token == kept.token


def _remember(kept: Kept, change: Change, run: int, attempt: int, counter: int) -> Kept:
    token, tokens = kept.token, kept.tokens
    if change.token:
        if change.token != token:
            tokens = (*tokens, change.token)[-TOKENS_KEPT:]
        token = change.token
    elif attempt > kept.attempt:
        token = ""  # the next attempt has not begun yet; the last one's run has no more to say
    return Kept(change.state, run, attempt, rank(change.state), counter, token, tokens)
