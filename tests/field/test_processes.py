"""What happens in the process that publishes or runs a task: these tests need no worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from celery import shared_task
from django.conf import settings
from django.db import transaction
from django.http import HttpResponse
from django.test import RequestFactory, override_settings

import realtime
from project.celery import app
from project.processes import ROOT
from realtime import owned_by, set_progress
from realtime.core.change import Change
from realtime.core.states import SUCCESS
from realtime.core.topics import Topic
from realtime.middleware import OwnerMiddleware
from realtime.ownership import owner_from
from realtime.store import get_store
from realtime.worker.publisher import publisher
from tests.field.pushed_tasks import PlainTask
from tests.publishing import user
from tests.until import until

IN_MEMORY = {"STORE": "realtime.store.memory.MemoryStore"}


@pytest.fixture
def _in_memory() -> Iterator[None]:
    layer = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    with override_settings(REALTIME=IN_MEMORY, CHANNEL_LAYERS=layer):
        yield


@pytest.fixture
def _eager(_in_memory: None) -> Iterator[None]:
    before = app.conf.task_always_eager
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = before


@shared_task
def greet() -> str:
    set_progress(1, 2, message="half")
    return "hello"


@shared_task
def start_others() -> list[str]:
    return [greet.delay().id, greet.apply().id]


@shared_task
def break_down() -> None:
    raise ValueError("broken")


@shared_task(bind=True, max_retries=2, base=PlainTask)
def retry_once(self: Any) -> str:
    if not self.request.retries:
        raise self.retry(exc=KeyError("given"), countdown=0)
    return "at last"


def owned(owner: str) -> dict[str, Any]:
    """An owner's tasks, by id."""
    assert publisher.flush(10)
    return {each.task_id: each for each in get_store().statuses(Topic("user", owner))}


# Eager tasks


@pytest.mark.usefixtures("_eager")
def test_eager_tasks_of_a_request_belong_to_its_user() -> None:
    def view(_request: Any) -> HttpResponse:
        return HttpResponse(start_others.delay().id)

    request = RequestFactory().get("/")
    request.user = user(7)
    task_id = OwnerMiddleware(view)(request).content.decode()  # type: ignore[union-attr]
    mine = owned("7")
    assert set(mine) == {task_id, *mine[task_id].result}
    assert {status.state for status in mine.values()} == {SUCCESS}
    assert {status.progress["message"] for status in mine.values() if status.progress} == {"half"}


@pytest.mark.usefixtures("_in_memory")
def test_tasks_that_are_applied_outside_of_a_task_have_their_owner_and_their_ending() -> None:
    with owned_by(user(8)):
        good, bad, late = greet.apply().id, break_down.apply().id, retry_once.apply().id
        with pytest.raises(ValueError, match="broken"):
            break_down.apply(throw=True, task_id="thrown")
    mine = owned("8")
    assert mine[good].result == "hello"
    for task_id in (bad, "thrown"):
        assert mine[task_id].state == "FAILURE"
        assert mine[task_id].error == {"type": "ValueError", "message": "broken"}
    assert (mine[late].result, mine[late].attempt, mine[late].run) == ("at last", 1, 1)


# Publishing on commit


@pytest.mark.django_db(transaction=True)
def test_a_task_published_on_commit_belongs_to_the_owner_at_its_registration() -> None:
    seen: list[Any] = []

    def note() -> None:
        from realtime.ownership import current_owner

        seen.append(current_owner())

    def fail() -> None:
        note()
        raise ValueError("of a hook")

    def register() -> None:
        transaction.on_commit(note)
        with owned_by(user(1), on_commit=True):
            transaction.on_commit(note)
            with transaction.atomic(), owned_by(user(2), on_commit=True):
                transaction.on_commit(note, robust=True)
            with owned_by(user(3)):
                transaction.on_commit(note)
        transaction.on_commit(note)
        with owned_by(user(4), on_commit=True):
            transaction.on_commit(fail)

    with pytest.raises(ValueError, match="of a hook"):
        transaction.atomic(register)()
    assert seen == [None, "1", "2", "1", None, "4"]
    note()
    assert seen[-1] is None  # though a hook raised


# Signal handlers


SIGNALLED = """
import faulthandler, os, signal, sys
faulthandler.dump_traceback_later(20, exit=True)
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
import django; django.setup()
from redis.exceptions import ConnectionError
from realtime.core.change import Change
from realtime.worker import publisher as module

strikes = []
def strike(*_):
    if {place!r} not in strikes:
        strikes.append({place!r})
        signal.raise_signal(signal.SIGUSR1)

class Store:
    away = {away}
    accepted = []
    def accept(self, change):
        self.accepted.append(change.task_id)
        return 1
    def send(self, change):
        strike() if {place!r} == "send" else None
        if self.away:
            raise ConnectionError("away")
        self.accepted.append(change.task_id)
        def answer():
            strike() if {place!r} == "answer" else None
            return 1
        return answer

store = Store()
module.get_store = lambda: store
if {place!r} == "queue":
    before = module.conf
    module.conf = lambda: (strike(), before())[1]
lost = Change(task_id="handler", state="LOST")
signal.signal(signal.SIGUSR1, lambda *_: module.publisher.publish(lost))
for number in range(3):
    module.publisher.publish(Change(task_id=f"main{{number}}", state="STARTED"))
assert module.publisher.flush(10)
assert strikes, "no signal was raised"
assert sorted(store.accepted) == ["handler", "main0", "main1", "main2"], store.accepted
print("published")
"""


@pytest.mark.parametrize(("place", "away"), [("send", False), ("answer", False), ("queue", True)])
def test_a_signal_handler_can_publish_whatever_it_interrupts(place: str, away: bool) -> None:
    program = SIGNALLED.format(place=place, away=away)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "published\n", done.stderr


def test_a_signal_handler_in_a_task_can_report_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    from realtime.worker.runs import Run

    run = Run(SimpleNamespace(id="interrupted", retries=0), {}, {})
    sent: list[str] = []

    def send(change: Change) -> Any:
        sent.append(change.fields["progress"])
        if len(sent) == 1:
            signal.raise_signal(signal.SIGUSR1)
        return SimpleNamespace(acknowledged=True)

    monkeypatch.setattr("realtime.worker.runs.publisher.send", send)
    before = signal.signal(signal.SIGUSR1, lambda *_: run.publish("READING", {"progress": "2"}))
    try:
        run.publish("READING", {"progress": "1"})
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert sent == ["1", "2"]


# Settings


def test_each_override_of_the_settings_starts_with_an_empty_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with override_settings(REALTIME={"REDIS_URL": "redis://127.0.0.1:1/0"}):
        publisher.publish(Change(task_id="to-nobody", state="STARTED"))
        assert until(publisher.queue_size)
        layer = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
        with override_settings(REALTIME=IN_MEMORY, CHANNEL_LAYERS=layer):
            assert publisher.queue_size() == 0
            task_id = greet.apply().id
            status = realtime.status(task_id)
            assert status is not None
            assert status.state == SUCCESS
            assert get_store().status("to-nobody") is None


# Selected tasks


def _resolve(resolved: list[str]) -> str:
    resolved.append("9")
    return "9"


@pytest.mark.usefixtures("_eager")
def test_tasks_are_selected_by_patterns_and_an_excluded_one_resolves_no_owner() -> None:
    for patterns, is_pushed in (
        ([], True),
        (["tests.*"], True),
        (["other.*"], False),
        (["!tests.field.*"], False),
        (["tests.*", "!*.greet"], False),
        (["!*.Tell"], True),
    ):
        given = {**settings.REALTIME, "TASKS": patterns}
        resolved: list[str] = []
        resolve = partial(_resolve, resolved)
        with override_settings(REALTIME=given), owner_from(resolve):
            task_id = greet.delay().id
            assert publisher.flush(10)
            assert (get_store().status(task_id) is not None) is is_pushed
            assert bool(resolved) is is_pushed


# Forked processes


@pytest.mark.usefixtures("_in_memory")
def test_delayed_progress_is_sent_in_a_forked_process_too() -> None:
    from realtime.worker.timer import timer

    rung = threading.Event()
    assert timer.call_later(0, rung.set)
    assert rung.wait(30)
    child = os.fork()
    if child == 0:
        again = threading.Event()
        timer.call_later(0, again.set)
        os._exit(0 if again.wait(30) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_progress_of_a_forked_process_is_sent_though_its_parents_was_delayed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from realtime.worker.runs import Run

    sent: list[str] = []

    def send(change: Change) -> Any:
        sent.append(change.fields["progress"])
        return SimpleNamespace(acknowledged=True)

    monkeypatch.setattr("realtime.worker.runs.publisher.send", send)
    with override_settings(REALTIME={**settings.REALTIME, "PROGRESS_RATE": 1.0}):
        run = Run(SimpleNamespace(id="forks", retries=0), {}, {})
        run.report("PROGRESS", "1")
        run.report("PROGRESS", "2")  # waits
        child = os.fork()
        if child == 0:
            run.report("PROGRESS", "3")
            os._exit(0 if until(lambda: sent[-1] == "3") else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert until(lambda: sent[-1] == "2")
