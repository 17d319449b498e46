"""What a process publishes about a task."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Dependent(NamedTuple):
    """A task that waits for another one: a later link of its chain, or its chord's body."""

    task_id: str
    name: str


class Change(NamedTuple):
    """One change of one task, before the store decides whether it is new. Made with keywords only.

    ``fields`` has JSON text by status key. Changes by other processes than the run's (the
    publishing process, the worker's main process, the reconciler) have no ``run_id``: they are
    about the current run.
    """

    task_id: str
    #: Empty for a change that keeps the state, such as a request to cancel.
    state: str = ""
    #: Retries so far; None for the current attempt.
    attempt: int | None = None
    #: The run that publishes; made when the run begins.
    run_id: str = ""
    #: Whether nothing of this run has been accepted yet, so that its ``run_id`` may be a new one.
    begins: bool = False
    #: Orders the custom states of one run, or of one ``sender``; None for the next number.
    counter: int | None = None
    #: Another process that reports on the run (``update_state(task_id=…)``) and numbers its
    #: updates; empty for the run itself.
    sender: str = ""
    #: The publication of the message; empty if the sender cannot know it.
    publication: str = ""
    #: Whether the result backend had this ending. A SUCCESS stored there replaces another ending.
    stored: bool = False
    #: The task's owner: the ident of a ``user:`` topic, or empty.
    owner: str = ""
    #: The lease of the worker that runs the task, published when the run begins.
    worker: str = ""
    #: Seconds that the run, once stalled, may still be delivered again; published with ``worker``.
    redelivery_timeout: int = 0
    #: The tasks that wait for this one, which never run if it is lost: see :class:`Dependent`.
    dependents: tuple[Dependent, ...] = ()
    fields: Mapping[str, str] = MappingProxyType({})
