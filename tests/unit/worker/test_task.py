"""What existing code passes to `update_state`, and what is published of it."""

import json
from collections.abc import Mapping
from types import SimpleNamespace

import celery.app.task
import pytest
from celery.contrib.django.task import DjangoTask
from django.test import override_settings

from realtime.worker import runs
from realtime.worker.task import Task, push_state


class Raising(Mapping):
    """Returns each key, but raises when all of them are read."""

    def __init__(self, **known):
        self.known = known

    def __getitem__(self, key):
        return self.known[key]

    def __iter__(self):
        raise RuntimeError("no keys")

    def __len__(self):
        raise RuntimeError("no length")


@pytest.fixture
def sent(monkeypatch):
    """The changes that a run of task "t" sends."""
    changes = []

    def send(change):
        changes.append(change)
        return SimpleNamespace(acknowledged=True)

    monkeypatch.setattr(runs.publisher, "send", send)
    run = runs.Run(SimpleNamespace(id="t", retries=0), {"publication": "p", "owner": "7"}, {})
    with runs.entered(run):
        yield changes


def progress(change):
    return json.loads(change.fields["progress"])


@pytest.mark.parametrize("given", [True, False])
def test_the_readable_part_of_meta_is_shown(sent, given):
    with override_settings(REALTIME={"PROGRESS_META": given}):
        push_state(None, "t", "PROGRESS", Raising(current=1, status="on"))
    known = {"current": 1, "total": None, "message": "on", "meta": None}
    assert progress(sent[0]) == known


@pytest.mark.parametrize(
    ("redact", "expected"),
    [
        ("keep", {"speed": 3}),
        ("text", None),
        ("nothing", None),
        ("fail", None),
        ("long", None),
    ],
)
def test_other_keys_of_meta_pass_through_redaction(sent, redact, expected):
    path = f"{__name__}.redact_to_{redact}"
    with override_settings(REALTIME={"PROGRESS_META": True, "REDACT": path}):
        push_state(None, "t", "PROGRESS", {"current": 1, "speed": 3})
    assert progress(sent[0])["meta"] == expected


def redact_to_keep(kind, value):
    assert kind == "meta"
    return value


def redact_to_text(kind, value):
    return "a text"


def redact_to_nothing(kind, value):
    return None


def redact_to_fail(kind, value):
    raise ValueError("canary")


def redact_to_long(kind, value):
    return {"key": "x" * 2000}


@pytest.mark.parametrize("state", [5, object(), b"PROGRESS", "x" * 65, "a b", ""])
def test_a_state_that_is_no_name_counts_as_progress(sent, state):
    push_state(None, "t", state, {"current": 1})
    assert sent[0].state == "PROGRESS"


def test_updates_from_outside_of_a_run_are_numbered_by_their_sender(sent):
    runs.release_reports()
    for number in (1, 2):
        push_state("another", "t", "PROGRESS", {"current": number})
    runs.release_reports()
    first, second = sent
    assert (first.task_id, first.run_id, first.publication) == ("another", "", "")
    assert first.sender == second.sender != ""
    assert second.counter == first.counter + 1


def test_existing_code_may_name_the_services_class():
    assert issubclass(Task, DjangoTask)
    assert Task.update_state is celery.app.task.Task.update_state
    assert callable(Task.delay_on_commit)
