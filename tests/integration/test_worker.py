"""Every way in which a task starts, runs and ends, on a real prefork worker."""

import json

import pytest
from celery import chain, chord, group
from celery.utils import uuid

import realtime
from project.celery import app
from realtime.core.topics import Topic
from realtime.ownership import owner_from
from realtime.store import get_store
from tests import sample_tasks
from tests.statuses import ended, is_throttled, only_after_pending, reached, states, wait

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _service(service):
    """Every test here uses the session's service."""


def test_a_success_publishes_each_state():
    task_id = sample_tasks.add.delay(1, 2).id
    statuses = ended(task_id)
    assert only_after_pending(states(statuses)) == ["RECEIVED", "STARTED", "SUCCESS"]
    last = statuses[-1]
    assert (last.task_id, last.name) == (task_id, "tests.sample_tasks.add")
    assert (last.result, last.truncated, last.error) == (3, False, None)
    assert (last.root_id, last.parent_id, last.group_id) == (task_id, None, None)
    moments = [last.published_at, last.started_at, last.finished_at, last.updated_at]
    assert all(moments)
    assert moments == sorted(moments)


def test_a_failure_has_type_and_message_and_nothing_else():
    last = ended(sample_tasks.secret.delay("canary-4711").id)[-1]
    assert (last.state, last.error) == (
        "FAILURE",
        {"type": "RuntimeError", "message": "could not sign in (11 characters)"},
    )
    assert "canary" not in json.dumps(last.as_dict())


def test_a_long_message_is_cut():
    last = ended(sample_tasks.fail.delay("x" * 5000).id)[-1]
    assert last.error["message"] == "x" * 500


def test_a_retry_is_published_with_reason_and_time_before_the_next_attempt():
    statuses = ended(sample_tasks.retry_until.delay(2, countdown=0.2).id)
    assert only_after_pending(states(statuses)) == [
        "RECEIVED", "STARTED", "RETRY", "RECEIVED", "STARTED", "RETRY", "RECEIVED", "STARTED",
        "SUCCESS",
    ]  # fmt: skip
    retry = next(status for status in statuses if status.state == "RETRY")
    assert retry.error == {"type": "ConnectionError", "message": "down"}
    assert retry.retry_at > retry.updated_at
    last = statuses[-1]
    assert (last.run, last.attempt, last.error, last.retry_at) == (1, 2, None, None)


def test_retries_in_numbers_never_announce_an_attempt_after_the_next_one_began():
    ids = [sample_tasks.retry_until.delay(5).id for _ in range(40)]
    for task_id in ids:
        statuses = ended(task_id)
        assert states(statuses).count("RETRY") == 5
        assert statuses[-1].attempt == 5


def test_automatic_retries_that_are_used_up_end_in_failure():
    statuses = ended(sample_tasks.retry_by_itself.delay(9).id)
    assert states(statuses).count("RETRY") == 2
    assert {status.error["type"] for status in statuses if status.state == "RETRY"} == {
        "ConnectionError"
    }
    assert (statuses[-1].state, statuses[-1].error["type"]) == ("FAILURE", "ConnectionError")


def test_progress_is_throttled_and_its_last_value_is_always_published():
    statuses = ended(sample_tasks.count.delay(2000).id)
    progress = [status.progress for status in statuses if status.state == "PROGRESS"]
    assert progress[0] == {"current": 0, "total": 2000, "message": "counting", "meta": None}
    assert progress[-1] == {"current": 2000, "total": 2000, "message": "counting", "meta": None}
    assert is_throttled(statuses)
    assert statuses[-1].progress == progress[-1]


def test_throttled_progress_is_published_before_a_failure():
    statuses = ended(sample_tasks.count_and_fail.delay(500).id)
    assert statuses[-2].progress == {"current": 499, "total": 500, "message": None, "meta": None}
    assert statuses[-1].state == "FAILURE"


def test_update_state_of_existing_code_is_pushed_unchanged():
    statuses = ended(sample_tasks.report_the_old_way.delay().id)
    reported = [(s.state, s.progress) for s in statuses if s.progress or s.state == "ODD"]
    assert reported[:2] == [
        ("PROGRESS", {"current": 1, "total": 3, "message": "one", "meta": None}),
        ("COMPRESSING", {"current": 2, "total": 3, "message": None, "meta": None}),
    ]
    assert ("ODD", None) in reported
    assert statuses[-1].state == "SUCCESS"


def test_a_failure_by_update_state_and_ignore_is_that_failure():
    last = ended(sample_tasks.fail_the_old_way.delay().id)[-1]
    assert (last.state, last.error) == ("FAILURE", {"type": "Refused", "message": "not today"})


@pytest.mark.parametrize(
    ("task", "state", "error"),
    [
        (sample_tasks.exceed_softly, "FAILURE", "SoftTimeLimitExceeded"),
        (sample_tasks.exceed_hard, "FAILURE", "TimeLimitExceeded"),
        (sample_tasks.vanish, "FAILURE", "WorkerLostError"),
        (sample_tasks.kill_itself, "FAILURE", "WorkerLostError"),
        (sample_tasks.leave, "FAILURE", "SystemExit"),
        (sample_tasks.ignore, "REVOKED", "Ignore"),
        (sample_tasks.reject, "FAILURE", "Reject"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_an_unusual_ending_is_published_exactly_once(task, state, error):
    statuses = ended(task.delay().id)
    assert (statuses[-1].state, statuses[-1].error["type"]) == (state, error)
    assert sum(status.terminal for status in statuses) == 1


def test_a_task_that_is_delivered_again_after_its_process_died_is_a_second_run(tmp_path):
    statuses = ended(sample_tasks.kill_itself_once.delay(str(tmp_path / "marker")).id)
    assert only_after_pending(states(statuses)) == ["RECEIVED", "STARTED", "STARTED", "SUCCESS"]
    assert [status.run for status in statuses][-2:] == [2, 2]


def test_a_replaced_task_ends_as_its_replacement_does():
    last = ended(sample_tasks.replace.delay(20, 22).id)[-1]
    assert (last.state, last.result, last.name) == ("SUCCESS", 42, "tests.sample_tasks.add")


def test_an_unknown_task_fails_at_once():
    last = ended(app.send_task("nobody.wrote.this").id)[-1]
    assert (last.state, last.error["type"]) == ("FAILURE", "NotRegistered")


def test_a_task_that_expired_while_it_waited_is_revoked():
    last = ended(sample_tasks.add.apply_async((1, 2), expires=-1).id)[-1]
    assert (last.state, last.error["message"]) == ("REVOKED", "expired")


def test_a_revoked_waiting_task_is_revoked_when_its_turn_comes():
    result = sample_tasks.add.apply_async((1, 2), countdown=2)
    app.control.revoke(result.id)
    statuses = ended(result.id)
    assert statuses[-1].state == "REVOKED"
    assert "STARTED" not in states(statuses)


def test_a_cancelled_running_task_is_revoked(tmp_path):
    result = sample_tasks.hold.delay(str(tmp_path / "never"))
    reached(result.id, "STARTED")
    app.control.revoke(result.id, terminate=True)
    statuses = ended(result.id)
    assert (statuses[-1].state, statuses[-1].error["message"]) == ("REVOKED", "terminated")


def test_a_large_result_is_left_out_and_marked_as_truncated():
    last = ended(sample_tasks.echo.delay("x" * 5000).id)[-1]
    assert (last.state, last.result, last.truncated) == ("SUCCESS", None, True)


def test_an_ignored_result_is_not_published():
    last = ended(sample_tasks.forget.delay("private").id)[-1]
    assert (last.state, last.result, last.truncated) == ("SUCCESS", None, False)


def test_a_task_has_the_owner_of_the_caller_and_so_have_the_tasks_it_starts():
    with owner_from(lambda: "visitor-42"):
        first = sample_tasks.start_another.delay()
    child = wait(first.id).result
    wait(child)
    mine = get_store().statuses(Topic("user", "visitor-42"))
    assert {status.task_id for status in mine} == {first.id, child}
    assert wait(child).parent_id == first.id
    assert wait(child).root_id == first.id


def test_the_links_of_a_chain_are_known_before_their_turn(tmp_path):
    release = tmp_path / "go"
    with owner_from(lambda: "visitor-43"):
        last = chain(
            sample_tasks.hold.si(str(release)), sample_tasks.add.si(1, 1), sample_tasks.add.s(2)
        ).apply_async()
    assert realtime.status(last.id).state == "PENDING"
    assert realtime.status(last.parent.id).state == "PENDING"
    release.touch()
    assert wait(last.id).result == 4
    mine = get_store().statuses(Topic("user", "visitor-43"))
    assert {status.task_id for status in mine} == {
        last.id, last.parent.id, last.parent.parent.id
    }  # fmt: skip
    assert states(ended(last.id)).count("PENDING") == 1


def test_tasks_after_a_failure_in_a_chain_end_with_it():
    last = chain(
        sample_tasks.fail.si("first"), sample_tasks.add.si(1, 1), sample_tasks.add.si(2, 2)
    ).apply_async()
    for task_id in (last.id, last.parent.id):
        status = wait(task_id)
        assert (status.state, status.error["message"]) == ("FAILURE", "first")


def test_tasks_after_a_revoked_one_in_a_chain_are_revoked(tmp_path):
    last = chain(
        sample_tasks.hold.si(str(tmp_path / "never")), sample_tasks.add.si(1, 1)
    ).apply_async()
    reached(last.parent.id, "STARTED")
    app.control.revoke(last.parent.id, terminate=True)
    assert wait(last.id).state == "REVOKED"


def test_the_body_of_a_failed_chord_fails():
    result = chord(
        [sample_tasks.add.si(1, 1), sample_tasks.fail.si("a part")], sample_tasks.total.s()
    ).apply_async()
    status = wait(result.id)
    assert (status.state, status.error["message"]) == ("FAILURE", "a part")


def test_a_chord_shows_its_body_from_the_beginning(tmp_path):
    release = tmp_path / "go"
    result = chord(
        [sample_tasks.add.si(1, 1), sample_tasks.add.si(2, 2)], sample_tasks.total.s()
    ).apply_async()
    assert realtime.status(result.id) is not None
    release.touch()
    assert wait(result.id).result == 6


def test_nested_tasks_of_a_chain_are_known_before_their_turn_and_end_with_a_failure(tmp_path):
    release = tmp_path / "go"
    parts = [sample_tasks.add.si(n, n).set(task_id=uuid()) for n in range(2)]
    body = sample_tasks.total.s().set(task_id=uuid())
    last = chain(
        sample_tasks.hold_and_fail.si(str(release)), chord(parts, body), sample_tasks.add.s(1)
    ).apply_async()
    ids = [part.id for part in parts] + [body.id, last.id]
    assert [realtime.status(task_id).state for task_id in ids] == ["PENDING"] * 4
    release.touch()
    for task_id in ids:
        status = wait(task_id)
        assert (status.state, status.error["message"]) == ("FAILURE", "released")


def test_tasks_after_one_that_the_workers_parent_ended_end_with_it():
    body = sample_tasks.total.s().set(task_id=uuid())
    part = sample_tasks.add.si(1, 1).set(task_id=uuid())
    # Celery stores nothing of a part that it has not made yet, so no search finds it.
    chain(sample_tasks.exceed_hard.si(), chord([part], body)).apply_async()
    for task_id in (part.id, body.id):
        status = wait(task_id)
        assert (status.state, status.error["type"]) == ("FAILURE", "TimeLimitExceeded")


def test_a_task_that_was_replaced_by_a_chain_ends_once_and_as_the_chain_does():
    statuses = ended(sample_tasks.replace_by_chain.delay(20, 22).id)
    assert (statuses[-1].state, statuses[-1].result) == ("SUCCESS", 43)
    assert sum(status.terminal for status in statuses) == 1


def test_the_members_of_a_group_share_its_id():
    result = group(sample_tasks.add.s(n, n) for n in range(3)).apply_async()
    assert {wait(member.id).group_id for member in result.results} == {result.id}
