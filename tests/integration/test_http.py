"""The HTTP side of the wire contract, against a real server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync

import realtime
from realtime.core.status import FIELDS
from realtime.web.access.tokens import read_token
from tests.client.over_http import Answer, request
from tests.client.websocket import connect
from tests.publishing import fresh_id, publish_change, secret_of, token_for
from tests.sample_tasks import echo, fail, forget, sleep
from tests.until import until

pytestmark = pytest.mark.integration

NOT_FOUND = {"error": {"code": "not_found", "message": "no such task, or not for you"}}


def ended(task_id: str) -> Any:
    return async_to_sync(realtime.wait)(task_id, timeout=20)


def error_of(answer: Answer) -> str:
    """The code of an error body, which must be exactly the contract's."""
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}
    assert body["error"]["message"]
    code: str = body["error"]["code"]
    return code


# The status


def test_the_status_and_its_position_are_those_of_the_socket(service: Any, people: Any) -> None:
    task_id = fresh_id()
    publish_change(task_id, "PENDING", owner=people.alice.key)
    publish_change(task_id, "STARTED")

    @async_to_sync
    async def from_socket() -> Any:
        async with connect(service, session=people.alice.session) as client:
            return await client.subscribe(f"task:{task_id}")

    answer = request(service, "GET", f"/realtime/tasks/{task_id}/", session=people.alice.session)
    assert answer.code == 200
    subscribed = from_socket()
    assert answer.json() == {
        "epoch": subscribed["epoch"],
        "offset": 2,
        "status": subscribed["snapshot"][0],
    }
    assert tuple(answer.json()["status"]) == FIELDS
    assert "no-store" in answer.headers["Cache-Control"]


def test_a_token_in_the_header_shows_its_task(service: Any) -> None:
    task_id = fresh_id()
    publish_change(task_id, "SUCCESS", result=[1, "ü"])
    path = f"/realtime/tasks/{task_id}/"
    answer = request(service, "GET", path, token=token_for(service, f"task:{task_id}"))
    assert answer.json()["status"]["result"] == [1, "ü"]
    for scheme in ("bearer", "BEARER"):
        header = {"Authorization": f"{scheme}  {token_for(service, f'task:{task_id}')}"}
        assert request(service, "GET", path, headers=header).code == 200
    assert request(service, "GET", path, headers={"Authorization": "Basic YTpi"}).code == 404


def test_a_token_in_the_address_shows_nothing(service: Any) -> None:
    task_id = fresh_id()
    publish_change(task_id, "SUCCESS")
    token = token_for(service, f"task:{task_id}")
    assert request(service, "GET", f"/realtime/tasks/{task_id}/?token={token}").code == 404


@pytest.mark.parametrize("what", ["", "result/"])
def test_a_foreign_an_unknown_and_an_impossible_id_get_the_same_bytes(
    service: Any, people: Any, what: str
) -> None:
    foreign = fresh_id()
    publish_change(foreign, "SUCCESS", owner=people.alice.key, result=1)
    ids = (foreign, fresh_id(), "no-uuid", "*", "a%20b", "%C3%A4", "%7Ba%7D", "x" * 101)
    for session in ("", people.bob.session, people.clerk.session):
        answers = [
            request(service, "GET", f"/realtime/tasks/{ident}/{what}", session=session)
            for ident in ids
        ]
        assert {answer.code for answer in answers} == {404}
        assert len({answer.body for answer in answers}) == 1
        assert answers[0].json() == NOT_FOUND


@pytest.mark.parametrize("what", ["", "result/"])
def test_a_bad_token_is_unauthorized(service: Any, people: Any, what: str) -> None:
    task_id = fresh_id()
    publish_change(task_id, "SUCCESS", owner=people.alice.key, result=1)
    path = f"/realtime/tasks/{task_id}/{what}"
    for token in (
        "forged",
        "a:b:c",
        token_for(service, f"task:{fresh_id()}"),
        "é€".encode().decode("latin-1"),
    ):
        answer = request(service, "GET", path, session=people.alice.session, token=token)
        assert (answer.code, error_of(answer)) == (401, "unauthorized")


# The whole result


def test_a_large_result_is_left_out_of_the_status_and_whole_over_http(service: Any) -> None:
    rows = [{"line": n, "text": "ä😀" * 50} for n in range(1000)]
    task_id = echo.delay(rows).id
    status = ended(task_id)
    assert (status.state, status.result, status.truncated) == ("SUCCESS", None, True)
    token = token_for(service, f"task:{task_id}")
    answer = request(service, "GET", f"/realtime/tasks/{task_id}/result/", token=token)
    assert answer.code == 200
    assert answer.json() == rows


def test_ten_megabytes_are_no_trouble(service: Any) -> None:
    text = "x" * 10_000_000
    task_id = echo.delay(text).id
    assert ended(task_id).truncated
    token = token_for(service, f"task:{task_id}")
    answer = request(service, "GET", f"/realtime/tasks/{task_id}/result/", token=token)
    assert answer.json() == text


def test_a_result_that_the_backend_does_not_have_comes_from_the_status(service: Any) -> None:
    task_id = fresh_id()
    publish_change(task_id, "SUCCESS", result={"a": [1]})
    token = token_for(service, f"task:{task_id}")
    answer = request(service, "GET", f"/realtime/tasks/{task_id}/result/", token=token)
    assert (answer.code, answer.json()) == (200, {"a": [1]})


def test_a_task_that_failed_has_no_result(service: Any) -> None:
    task_id = fail.delay("canary").id
    assert ended(task_id).state == "FAILURE"
    token = token_for(service, f"task:{task_id}")
    answer = request(service, "GET", f"/realtime/tasks/{task_id}/result/", token=token)
    assert (answer.code, error_of(answer)) == (404, "not_found")
    assert b"canary" not in answer.body


def test_a_task_that_runs_has_no_result_yet(service: Any) -> None:
    task_id = fresh_id()
    publish_change(task_id, "STARTED")
    token = token_for(service, f"task:{task_id}")
    answer = request(service, "GET", f"/realtime/tasks/{task_id}/result/", token=token)
    assert (answer.code, error_of(answer)) == (404, "not_found")


def test_a_task_without_a_stored_result_answers_null(service: Any) -> None:
    task_id = forget.delay({"a": 1}).id
    assert ended(task_id).result is None
    token = token_for(service, f"task:{task_id}")
    answer = request(service, "GET", f"/realtime/tasks/{task_id}/result/", token=token)
    assert (answer.code, answer.body) == (200, b"null")


# Cancelling


def test_the_owner_cancels_over_http(service: Any, people: Any) -> None:
    task_id = fresh_id()
    publish_change(task_id, "STARTED", owner=people.alice.key)
    answer = request(
        service, "POST", f"/realtime/tasks/{task_id}/cancel/", session=people.alice.session
    )
    assert (answer.code, answer.json()) == (202, {"task_id": task_id})
    status = realtime.status(task_id)
    assert status is not None
    assert (status.state, status.cancelling) == ("STARTED", True)


def test_a_real_task_is_revoked_by_a_token_over_http(service: Any) -> None:
    task_id = sleep.delay(60).id
    token = token_for(service, f"task:{task_id}")
    answer = request(service, "POST", f"/realtime/tasks/{task_id}/cancel/", token=token)
    assert answer.code == 202
    assert ended(task_id).state == "REVOKED"


def test_only_the_owner_cancels(service: Any, people: Any) -> None:
    alice, task_id = people.alice, fresh_id()
    publish_change(task_id, "STARTED", owner=alice.key)
    path = f"/realtime/tasks/{task_id}/cancel/"
    for session in ("", people.bob.session, people.clerk.session, people.auditor.session):
        answer = request(service, "POST", path, session=session)
        assert (answer.code, answer.json()) == (404, NOT_FOUND)
    forged = request(service, "POST", path, session=alice.session, token="forged")
    assert (forged.code, error_of(forged)) == (401, "unauthorized")
    status = realtime.status(task_id)
    assert status is not None
    assert not status.cancelling


def test_cancelling_an_ended_task_is_accepted_and_changes_nothing(
    service: Any, people: Any
) -> None:
    task_id = fresh_id()
    publish_change(task_id, "SUCCESS", owner=people.alice.key, result=1)
    before = realtime.status(task_id)
    path = f"/realtime/tasks/{task_id}/cancel/"
    assert request(service, "POST", path, session=people.alice.session).code == 202
    assert realtime.status(task_id) == before


# Tokens


def test_a_user_gets_a_token_for_their_own_topics(service: Any, people: Any) -> None:
    alice, task_id = people.alice, fresh_id()
    publish_change(task_id, "PENDING", owner=alice.key)
    topics = ["user:me", f"user:{alice.key}", f"task:{task_id}"]
    before = datetime.now(UTC)
    answer = request(
        service, "POST", "/realtime/tokens/", session=alice.session, body={"topics": topics}
    )
    assert answer.code == 201
    body = answer.json()
    assert set(body) == {"token", "expires_at", "expires_in", "topics", "refused"}
    assert (body["topics"], body["refused"]) == (topics, [])
    assert 890 <= body["expires_in"] <= 900
    with secret_of(service):
        assert {str(topic) for topic in read_token(body["token"])} == set(topics[1:])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["expires_at"])
    ends = datetime.fromisoformat(body["expires_at"]) - timedelta(seconds=900)
    assert before - timedelta(seconds=1) <= ends <= datetime.now(UTC) + timedelta(seconds=1)


def test_no_token_is_made_for_a_forbidden_topic(service: Any, people: Any) -> None:
    foreign = fresh_id()
    publish_change(foreign, "PENDING", owner=people.alice.key)
    refusals = {
        "a foreign task": (f"task:{foreign}", 404, "not_found"),
        "an unknown task": (f"task:{fresh_id()}", 404, "not_found"),
        "another user": (f"user:{people.alice.key}", 404, "not_found"),
    }
    for what, (topic, code, word) in refusals.items():
        answer = request(
            service,
            "POST",
            "/realtime/tokens/",
            session=people.bob.session,
            body={"topics": [topic]},
        )
        assert (answer.code, error_of(answer)) == (code, word), what
    body = {"topics": [f"user:{people.alice.key}"]}
    answer = request(service, "POST", "/realtime/tokens/", body=body)
    assert (answer.code, error_of(answer)) == (401, "unauthorized")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="no JSON"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
        pytest.param(b"[" * 200_000, id="very deep"),
        pytest.param(b'{"topics":[' + b"9" * 5000 + b"]}", id="a long number"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"7", id="a number"),
        pytest.param(b"null", id="null"),
        pytest.param(b"{}", id="no topics"),
        pytest.param(b'{"topics":"user:me"}', id="topics a string"),
        pytest.param(b'{"topics":{}}', id="topics an object"),
        pytest.param(b'{"topics":[]}', id="no topic"),
        pytest.param(b'{"topics":[5]}', id="a topic that is a number"),
        pytest.param(b'{"topics":[["user:me"]]}', id="a topic that is a list"),
        pytest.param(b'{"topics":["colour:red"]}', id="a topic that is none"),
        pytest.param(b'{"topics":["task:\\ud800"]}', id="half a surrogate pair"),
        pytest.param(json.dumps({"topics": ["user:me"] * 129}).encode(), id="129 topics"),
    ],
)
def test_a_bad_body_is_a_bad_request(service: Any, people: Any, body: bytes) -> None:
    answer = request(service, "POST", "/realtime/tokens/", session=people.alice.session, body=body)
    assert (answer.code, error_of(answer)) == (400, "bad_request")


def test_a_huge_body_is_too_large(service: Any, people: Any) -> None:
    body = b'{"topics":["user:me"],"x":"' + b"x" * 3_000_000 + b'"}'
    answer = request(service, "POST", "/realtime/tokens/", session=people.alice.session, body=body)
    assert (answer.code, error_of(answer)) == (413, "too_large")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_of_another_type_is_a_bad_request(service: Any, people: Any, kind: str) -> None:
    answer = request(
        service,
        "POST",
        "/realtime/tokens/",
        session=people.alice.session,
        body=b'{"topics":["user:me"]}',
        headers={"Content-Type": kind},
    )
    assert (answer.code, error_of(answer)) == (400, "bad_request")


# Methods


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/realtime/tasks/{id}/", "GET, HEAD"),
        ("/realtime/tasks/{id}/result/", "GET, HEAD"),
        ("/realtime/tasks/{id}/cancel/", "POST"),
        ("/realtime/tokens/", "POST"),
        ("/realtime/ws/", "GET, HEAD"),
        ("/realtime/healthz", "GET, HEAD"),
        ("/realtime/readyz", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_answered_with_the_right_one(
    service: Any, path: str, allowed: str
) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - set(allowed.split(", ")):
        answer = request(service, method, path.format(id=fresh_id()))
        assert (answer.code, error_of(answer)) == (405, "bad_request"), method
        assert answer.headers["Allow"] == allowed


def test_head_answers_without_a_body(service: Any) -> None:
    task_id = fresh_id()
    publish_change(task_id, "SUCCESS", result=1)
    token = token_for(service, f"task:{task_id}")
    for path in (f"/realtime/tasks/{task_id}/", f"/realtime/tasks/{task_id}/result/"):
        answer = request(service, "HEAD", path, token=token)
        assert (answer.code, answer.body) == (200, b"")
    assert request(service, "HEAD", "/realtime/healthz").code == 200


# Health


def test_a_healthy_service_answers_ready(service: Any) -> None:
    assert request(service, "GET", "/realtime/healthz").body == b"ok\n"
    # A process that has just started leads a moment later.
    assert until(lambda: request(service, "GET", "/realtime/readyz").body == b"ready\n")
    answer = request(service, "GET", "/realtime/readyz")
    assert (answer.code, answer.body) == (200, b"ready\n")


@pytest.mark.timeout(120)
def test_without_redis_it_is_alive_and_not_ready_and_shows_nothing_of_the_inside(
    start_service: Callable[..., Any],
) -> None:
    service = start_service(WORKERS="1")
    task_id = fresh_id()
    topic = f"task:{task_id}"
    token = token_for(service, topic)
    publish_change(task_id, "STARTED")
    service.redis.stop()

    assert request(service, "GET", "/realtime/healthz").code == 200
    answer = request(service, "GET", "/realtime/readyz")
    assert (answer.code, error_of(answer)) == (503, "internal")
    answer = request(service, "GET", f"/realtime/tasks/{task_id}/", token=f"{token}")
    assert answer.code == 500
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "ref"}
    assert error["code"] == "internal"

    @async_to_sync
    async def on_the_socket() -> Any:
        async with connect(service) as client:
            refused = await client.subscribe(topic, token=token)
            assert (await client.ask("ping"))["type"] == "pong"
            return refused

    refused = on_the_socket()
    assert (refused["type"], refused["code"], refused["id"]) == ("error", "internal", 1)
    for ref in (refused["ref"], error["ref"]):  # the log has the reference of each answer
        assert until(lambda ref=ref: f"ref={ref}" in service.web.log())

    service.redis.start()
    assert until(lambda: request(service, "GET", "/realtime/readyz").code == 200)
