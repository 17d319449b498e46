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
    """One change of one task, before the store decides whether it is new. By keywords alone.

    ``fields`` holds JSON text by status key. Changes from beside the run (the publisher, the
    worker's parent process, the reconciler) carry no ``run_id``: they are about the current run.
    """

    task_id: str
    #: Empty for a change that leaves the state as it is, as a request to cancel does.
    state: str = ""
    #: Retries so far; None for the current attempt.
    attempt: int | None = None
    #: Names the run that publishes; made when the run begins.
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
    #: The task's owner: the ident of a ``user:`` topic, or empty.
    owner: str = ""
    #: The lease of the worker that runs the task, published when the run begins.
    worker: str = ""
    #: Seconds that the run, once stalled, may still be delivered again; published with ``worker``.
    redelivery_timeout: int = 0
    #: The tasks that wait for this one, which never run if it is lost: see :class:`Dependent`.
    dependents: tuple[Dependent, ...] = ()
    fields: Mapping[str, str] = MappingProxyType({})
