"""What the receivers read from messages and settings."""

import gc
import weakref
from types import SimpleNamespace

import pytest
from celery import Celery, chain, chord, group

from realtime.conf import conf
from realtime.worker.consuming import on_unknown
from realtime.worker.delivery import redelivery_timeout
from realtime.worker.messages import dependents_of
from realtime.worker.runs import Run, begin, end

app = Celery("messages", set_as_current=False)


@app.task(name="messages.step", shared=False)
def step():
    pass


def named(task_id):
    return step.si().set(task_id=task_id)


def ids(*signatures, body=None):
    """The ids of the tasks that wait for a task with this rest of a chain and this chord body."""
    rest = [signature.__json__() for signature in reversed(signatures)]
    return [task_id for task_id, _ in dependents_of(rest, body)]


@pytest.mark.parametrize(
    ("signatures", "waiting"),
    [
        ([named("a"), named("b")], "ab"),
        ([group(named("a"), named("b"))], "ab"),
        ([chain(named("a"), group(named("b"), named("c")))], "abc"),
        ([chord([named("a"), named("b")], named("c")), named("d")], "abcd"),
        ([chord([chord([named("a")], named("b")), named("c")], named("d"))], "abcd"),
        ([named("a").set(chord=named("b").set(chain=[named("d"), named("c")]))], "abcd"),
        ([step.si()], ""),
    ],
)
def test_all_waiting_tasks_are_found_in_order(signatures, waiting):
    assert "".join(ids(*signatures)) == waiting


def test_a_message_without_callbacks_has_no_dependents():
    assert ids() == []
    assert ids(body="no signature") == []


@pytest.mark.parametrize(
    ("late", "options", "seconds"),
    [
        (False, {}, 0),
        (True, {}, 3600 + 100),
        (True, {"visibility_timeout": 60}, 60 + 100),
        (True, {"visibility_timeout": 60, "unacked_restore_throttle": 1}, 60 + 10),
        (True, {"unacked_restore_interval": 60}, 3600 + 600),
    ],
)
def test_a_task_is_lost_when_nothing_will_deliver_it_again(late, options, seconds):
    settings = {"task_acks_late": late, "broker_transport_options": options}
    app = Celery("patient", set_as_current=False, changes=settings)
    task = SimpleNamespace(acks_late=None, app=app)
    assert redelivery_timeout(task) == conf().LOST_TIMEOUT + seconds


@pytest.mark.parametrize(
    ("embed", "ended"),
    [
        ({"chain": [dict(named("c")), dict(named("b"))], "chord": None}, "abc"),
        ({"chain": None, "chord": dict(named("b"))}, "ab"),
        (None, "a"),
    ],
)
def test_dependents_of_an_unknown_task_fail_with_it(monkeypatch, embed, ended):
    changes = []
    monkeypatch.setattr("realtime.worker.consuming.publisher.publish", changes.append)
    monkeypatch.setattr("realtime.worker.endings.publisher.send_all", changes.extend)
    headers = {"id": "a", "task": "nobody.wrote.this", "realtime": {"owner": "7"}}
    message = SimpleNamespace(headers=headers, payload=([], {}, embed))
    on_unknown(message=message, id="a", name="nobody.wrote.this", exc=KeyError())
    assert "".join(sorted(change.task_id for change in changes)) == ended
    assert {change.state for change in changes} == {"FAILURE"}
    assert all("NotRegistered" in change.fields["error"] for change in changes)
    assert {change.owner for change in changes} == {"7"}


def test_a_run_that_has_ended_is_freed_without_the_garbage_collector():
    request = SimpleNamespace(id="t", retries=0)
    gc.disable()
    try:
        run = Run(request, {}, {})
        begin(run)
        end(run)
        freed = weakref.ref(run)
        del run
        assert freed() is None
    finally:
        gc.enable()
