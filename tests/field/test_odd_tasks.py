"""Rare uses of Celery: none disturbs the task, and each task has the right ending."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from celery import chain, chord, group
from celery.utils import uuid
from kombu.exceptions import SerializerNotInstalled

import realtime
from project.celery import app
from project.processes import ROOT
from realtime.core.topics import Topic
from realtime.ownership import owner_from
from realtime.store import get_store
from tests.field import odd_tasks
from tests.field.conftest import LONG
from tests.field.odd_tasks import UNKNOWN
from tests.field.workers import Workers, is_in, owner_of, tasks_of, workers
from tests.sample_tasks import add, echo, total
from tests.statuses import ended, states
from tests.until import until

pytestmark = pytest.mark.integration

POOLS = ["prefork", "threads", "gevent"] if LONG else ["prefork"]


@pytest.fixture(scope="module", params=POOLS)
def running(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Workers]:
    with workers(tmp_path_factory, PROGRESS_META=True) as made:
        made.start(
            2,
            pool=request.param,
            DJANGO=json.dumps({"CELERY_ACCEPT_CONTENT": ["json", "pickle"]}),
            C_FORCE_ROOT="1",  # Celery refuses pickle as root
        )
        yield made


@pytest.fixture(autouse=True)
def _running(running: Workers) -> None:
    """Every test of this module uses that worker."""


def in_a_second(**zone: Any) -> datetime:
    return datetime.now(UTC).astimezone(timezone(timedelta(**zone))) + timedelta(seconds=1)


def with_header(header: Any) -> Callable[[], Any]:
    return lambda: add.apply_async((1, 2), headers={"realtime": header})


#: How each is published, and the state in which it ends.
WAYS: dict[str, tuple[Callable[[], Any], str]] = {
    "pickle": (
        lambda: odd_tasks.value_of.apply_async((odd_tasks.Thing(3),), serializer="pickle"),
        "SUCCESS",
    ),
    "compressed": (lambda: add.apply_async((1, 2), compression="zlib"), "SUCCESS"),
    "with a priority": (lambda: add.apply_async((1, 2), priority=3), "SUCCESS"),
    "by name": (lambda: app.send_task(add.name, (1, 2)), "SUCCESS"),
    "an unknown name": (lambda: app.send_task("no.such.task"), "FAILURE"),
    "another text as our header": (with_header("mine"), "SUCCESS"),
    "another list as our header": (with_header([1]), "SUCCESS"),
    "another dict as our header": (with_header({"publication": 5, "owner": ["x"]}), "SUCCESS"),
    "later, in another time zone": (
        lambda: add.apply_async((1, 2), eta=in_a_second(hours=9)),
        "SUCCESS",
    ),
    "expired": (lambda: add.apply_async((1, 2), expires=0.0001), "REVOKED"),
    "coroutines": (lambda: odd_tasks.use_asyncio.delay(), "SUCCESS"),
    "odd meta": (lambda: odd_tasks.odd_meta.delay(), "SUCCESS"),
    "nested tracks": (lambda: odd_tasks.nest_tracks.delay(), "SUCCESS"),
    "other arguments": (lambda: odd_tasks.retry_with_other_arguments.delay(0), "SUCCESS"),
    "autoretry": (lambda: odd_tasks.retry_by_itself.delay(), "FAILURE"),
    "swallowed retry": (lambda: odd_tasks.swallow_retry.delay(), "SUCCESS"),
    "requeued": (lambda: odd_tasks.requeue_once.delay(), "SUCCESS"),
    "rejected": (lambda: odd_tasks.reject.delay(), "FAILURE"),
    "ignored": (lambda: odd_tasks.ignore.delay(), "REVOKED"),
    "without result": (lambda: odd_tasks.without_result.delay(), "SUCCESS"),
    "long chain": (
        lambda: chain(add.si(1, n) for n in range(300 if LONG else 50)).apply_async(),
        "SUCCESS",
    ),
    "group of groups": (
        lambda: group(group(add.si(1, n) for n in range(5)) for _ in range(4)).apply_async()[-1],
        "SUCCESS",
    ),
    "chord size": (
        lambda: chord([add.si(1, 2)] * 3, total.s()).apply_async(chord_size=3),
        "SUCCESS",
    ),
}


def test_each_task_has_its_ending_and_its_owner_however_it_is_published(running: Workers) -> None:
    ids = {}
    for way, (start, _) in WAYS.items():
        with owner_from(lambda way=way: way):
            ids[way] = start().id
    for way, (_, state) in WAYS.items():
        assert until(is_in(ids[way], state)), (way, realtime.status(ids[way]))
        assert owner_of(ids[way]) == way
    log = running.started[0].log()
    for event in ("internal_error", "Signal handler", "not_pushed", "publish_failed"):
        assert event not in log


def test_a_task_has_its_own_name_in_every_state_and_not_the_one_for_the_logs() -> None:
    statuses = ended(add.apply_async((1, 2), shadow="Adding up").id)
    assert {status.name for status in statuses} == {add.name}


def test_handlers_of_a_task_report_and_start_tasks_until_it_has_ended() -> None:
    last = ended(odd_tasks.with_handlers.delay(good=True).id)[-1]
    assert (last.state, last.progress["message"]) == ("SUCCESS", "on_success")
    task_id = uuid()
    with owner_from(lambda: "handlers"):
        odd_tasks.with_handlers.apply_async((False,), task_id=task_id)
    last = ended(task_id)[-1]
    assert (last.state, last.progress["message"]) == ("FAILURE", "on_failure")
    assert until(lambda: owner_of(f"{task_id}-handler") == "handlers")


def test_a_soft_time_limit_during_a_call_of_the_service_reaches_the_task(
    running: Workers,
) -> None:
    if "prefork" not in running.started[0].command:
        pytest.skip("only prefork has soft time limits")
    last = ended(odd_tasks.meet_limit_while_publishing.delay().id)[-1]
    assert (last.state, last.result) == ("SUCCESS", "the limit")


# Publishing that fails


def test_a_retry_that_cannot_be_published_ends_the_task() -> None:
    statuses = ended(chain(odd_tasks.retry_in_vain.si(), echo.si(1)).apply_async().parent.id)
    assert states(statuses)[-2:] == ["RETRY", "FAILURE"]
    assert statuses[-1].error["type"] == "SerializerNotInstalled"


@pytest.mark.parametrize("way", ["task", "chord"])
def test_a_replacement_that_cannot_be_published_ends_the_task_and_its_dependents(
    way: str,
) -> None:
    result = chain(odd_tasks.replace_in_vain.si(way), echo.si(1)).apply_async()
    for task_id in (result.parent.id, result.id):
        assert until(is_in(task_id, "FAILURE")), realtime.status(task_id)


def states_after_failed_publishing(canvas: Any) -> dict[str, str]:
    """The states of the tasks of a canvas whose publishing raised, by `task_id`."""
    owner = uuid()
    with owner_from(lambda: owner), pytest.raises(SerializerNotInstalled):
        canvas.apply_async()
    until(lambda: all(status.terminal for status in get_store().statuses(Topic("user", owner))))
    return {each: realtime.status(each).state for each in tasks_of(owner)}


def named(task_id: str, signature: Any) -> Any:
    return signature.set(task_id=task_id)


def test_the_body_of_a_chord_whose_publishing_raises_fails_with_all_that_follows_it() -> None:
    ids = {name: f"{name}-{uuid()}" for name in ("first", "body", "later", "broken")}
    members = [
        named(ids["first"], add.si(1, 1)),
        named(ids["broken"], add.si(2, 2)).set(serializer=UNKNOWN),
        add.si(3, 3),
    ]
    body = chain(named(ids["body"], total.s()), named(ids["later"], echo.s()))
    assert states_after_failed_publishing(chord(members, body)) == {
        ids["first"]: "SUCCESS",
        ids["body"]: "FAILURE",
        ids["later"]: "FAILURE",
    }


def test_an_inner_chord_runs_though_publishing_the_outer_chord_fails() -> None:
    ids = {name: f"{name}-{uuid()}" for name in ("inner", "outer", "chained")}
    whole = chord([add.si(1, 1), add.si(2, 2)], named(ids["inner"], total.s()))
    chained = chain(named(ids["chained"], add.si(1, 1)), echo.si(2))
    broken = add.si(2, 2).set(serializer=UNKNOWN)
    found = states_after_failed_publishing(
        group(chained, chord([whole, broken, add.si(3, 3)], named(ids["outer"], total.s())))
    )
    assert found[ids["inner"]] == "SUCCESS"
    assert found[ids["outer"]] == "FAILURE"
    assert found[ids["chained"]] == "SUCCESS"
    assert sorted(found.values()).count("FAILURE") == 1


def test_the_bodies_of_nested_chords_both_fail_if_publishing_the_inner_chord_fails() -> None:
    ids = {name: f"{name}-{uuid()}" for name in ("inner", "outer")}
    inner = chord(
        [add.si(1, 1), add.si(2, 2).set(serializer=UNKNOWN)], named(ids["inner"], total.s())
    )
    found = states_after_failed_publishing(
        chord([inner, add.si(3, 3)], named(ids["outer"], total.s()))
    )
    assert (found[ids["inner"]], found[ids["outer"]]) == ("FAILURE", "FAILURE")


# Excluded tasks, and scripts


def test_reports_of_a_child_on_an_excluded_parent_make_no_record() -> None:
    parent = odd_tasks.hidden_parent.delay()
    child = parent.get(timeout=60)
    assert ended(child)[-1].result == parent.id
    assert get_store().status(parent.id) is None


SCRIPT = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
import django; django.setup()
from tests.sample_tasks import add
import project.celery
for step in range(1, 4):
    add.update_state(task_id=sys.argv[1], state="PROGRESS", meta={"current": step, "total": 3})
"""

PLAIN = """
import sys
from celery import Celery
app = Celery(broker=sys.argv[1])
add = app.signature("tests.sample_tasks.add", (1, 2), immutable=True)
(add.set(task_id=sys.argv[2]) | add.clone().set(task_id=sys.argv[3])).apply_async()
"""


def run(program: str, *arguments: str, **env: str) -> None:
    subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, env=env, check=True)


def test_the_newest_progress_that_a_script_reports_is_shown_though_it_ends_at_once(
    running: Workers,
) -> None:
    task_id = uuid()
    run(SCRIPT, task_id, **running.env)
    assert realtime.status(task_id).progress["current"] == 3


def test_tasks_of_a_process_without_the_service_are_shown_from_when_they_are_received(
    running: Workers,
) -> None:
    first, last = uuid(), uuid()
    run(PLAIN, running.redis_url, first, last)
    for task_id in (last, first):
        statuses = ended(task_id)
        assert (statuses[-1].state, statuses[-1].run) == ("SUCCESS", 1)
        assert owner_of(task_id) == ""
