"""The status object, and the states."""

import json

import pytest

from realtime.core import states
from realtime.core.status import FIELDS, Status, compose


def test_the_keys_are_those_of_the_protocol_in_its_order():
    assert FIELDS == (
        "task_id", "name", "state", "version", "run", "attempt", "progress", "result", "truncated",
        "error", "eta", "retry_at", "cancelling", "root_id", "parent_id", "group_id",
        "published_at", "started_at", "finished_at", "updated_at",
    )  # fmt: skip


def test_a_field_that_no_change_set_is_null_or_false():
    composed = json.loads(compose({"task_id": '"a"', "state": '"PENDING"'}))
    assert tuple(composed) == FIELDS
    assert composed["truncated"] is composed["cancelling"] is False
    always_set = ("task_id", "state", "truncated", "cancelling")
    assert all(composed[key] is None for key in FIELDS if key not in always_set)


def test_keys_of_a_later_release_pass_through():
    text = compose({"task_id": '"a"', "state": '"PAUSED"', "colour": '"red"'})
    assert json.loads(text)["colour"] == "red"
    status = Status.from_json(text)
    assert status.extra == {"colour": "red"}
    assert status.as_dict() == json.loads(text)
    assert not status.terminal


def test_a_key_that_another_release_omits_has_its_default():
    status = Status.from_json('{"task_id":"a","state":"STARTED"}')
    assert status == Status.from_json(
        compose({"task_id": '"a"', "state": '"STARTED"'} | dict.fromkeys(COUNTS, "0"))
    )
    assert Status.from_json("{}").state == "PENDING"


def test_a_composed_status_is_read_back():
    text = compose({"task_id": '"a"', "state": '"SUCCESS"', "version": "3", "result": '{"x":[1]}'})
    status = Status.from_json(text)
    assert (status.task_id, status.version, status.result) == ("a", 3, {"x": [1]})
    assert status.as_dict() == json.loads(text)
    assert Status.from_json(text.encode()) == status


COUNTS = ("version", "run", "attempt")


@pytest.mark.parametrize(
    ("state", "terminal", "successful", "failed"),
    [
        ("SUCCESS", True, True, False),
        ("FAILURE", True, False, True),
        ("REVOKED", True, False, True),
        ("LOST", True, False, True),
        ("STALLED", False, False, False),
        ("RETRY", False, False, False),
        ("PENDING", False, False, False),
        ("UPLOADING", False, False, False),
    ],
)
def test_the_state_decides_whether_and_how_a_task_has_ended(state, terminal, successful, failed):
    status = Status.from_json(compose({"state": json.dumps(state)}))
    assert (status.terminal, status.successful, status.failed) == (terminal, successful, failed)


def test_the_states_of_an_attempt_have_an_order():
    life = ["PENDING", "RECEIVED", "STARTED", "PROGRESS", "STALLED", "RETRY", "SUCCESS"]
    assert sorted(life, key=states.rank) == life
    assert states.rank("UPLOADING") == states.rank("PROGRESS")
    assert {states.rank(state) for state in states.TERMINAL} == {states.TERMINAL_RANK}


def test_starts_retries_and_endings_are_never_merged():
    kept = {*states.TERMINAL, "STARTED", "RETRY"}
    every = {*kept, "PENDING", "RECEIVED", "PROGRESS", "STALLED", "UPLOADING"}
    assert {state for state in every if not states.is_mergeable(state)} == kept
