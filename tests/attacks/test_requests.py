"""HTTP requests of every kind: none is answered with an internal error."""

from __future__ import annotations

import http.client
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import realtime
from realtime.core.codes import ErrorCode
from tests.client.over_http import request
from tests.client.protocol import DEADLINE, INSIDE, strict_json
from tests.publishing import fresh_id, publish_change

pytestmark = pytest.mark.integration

OPENAPI = json.loads(
    (Path(__file__).resolve().parents[2] / "docs" / "openapi.json").read_text(encoding="utf-8")
)
EXAMPLES = 200

#: A value that a header can carry at all.
header_values = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)
topics = st.sampled_from(["user:me", "task:x", "task:*", "user:1", "colour:red"]) | st.text()
bodies = (
    st.binary(max_size=300)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries({"topics": st.lists(topics, max_size=4) | json_values}).map(
        lambda value: json.dumps(value).encode()
    )
)
headers = st.fixed_dictionaries(
    {},
    optional={
        "Authorization": header_values.map("Bearer {}".format) | header_values,
        "Cookie": header_values | header_values.map("sessionid={}".format),
        "X-CSRFToken": header_values,
        "Accept": header_values,
        "Content-Type": st.sampled_from(
            [
                "application/json",
                "application/json; charset=nonsense",
                "application/x-www-form-urlencoded",
                "application/x-www-form-urlencoded; charset=utf-16",
                "multipart/form-data",
                "multipart/form-data; boundary=x",
                "text/plain",
            ]
        )
        | header_values,
        "Origin": header_values,
        "Referer": header_values,
        "X-Forwarded-For": header_values,
        "X-Forwarded-Proto": header_values,
        "Range": header_values,
        "If-None-Match": header_values,
    },
)


@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    path=st.sampled_from(sorted(OPENAPI["paths"])),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]),
    ident=st.text(max_size=110) | st.just("known"),
    query=st.text(max_size=30),
    given_headers=headers,
    body=bodies,
    proven=st.booleans(),
)
def test_no_request_is_answered_with_an_internal_error(
    service: Any,
    path: str,
    method: str,
    ident: str,
    query: str,
    given_headers: dict[str, str],
    body: bytes,
    proven: bool,
) -> None:
    where = path.replace("{task_id}", quote(ident.encode("utf-8", "surrogatepass"), safe=""))
    given = {name: value.strip() for name, value in given_headers.items()}
    if proven:  # as the own page, so that the server checks more than the CSRF token
        given |= {"Cookie": f"csrftoken={'a' * 32}", "X-CSRFToken": "a" * 32}
        given.pop("Origin", None)
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=DEADLINE)
    try:
        target = f"/realtime{where}?{quote(query.encode('utf-8', 'surrogatepass'))}"
        connection.request(method, target, body, {k: v.encode("latin-1") for k, v in given.items()})
        response = connection.getresponse()
        answer = response.read().decode()
    finally:
        connection.close()
    assert response.status < 500
    assert not INSIDE.search(answer)
    if response.headers["Content-Type"] == "application/json" and response.status >= 400 and answer:
        error = strict_json(answer)["error"]
        assert set(error) == {"code", "message"}
        assert error["code"] in set(ErrorCode)


def test_without_a_csrf_token_nothing_is_changed_and_the_answer_is_403(
    service: Any, people: Any
) -> None:
    alice, task_id = people.alice, fresh_id()
    publish_change(task_id, "STARTED", owner=alice.key)
    cancel = f"/realtime/tasks/{task_id}/cancel/"
    answers = {
        "no token": request(service, "POST", cancel, session=alice.session, csrf=False),
        "another's page": request(
            service, "POST", cancel, session=alice.session, headers={"Origin": "https://a.example"}
        ),
        "no page": request(
            service, "POST", cancel, session=alice.session, headers={"Origin": "null"}
        ),
        "a token for tokens": request(
            service,
            "POST",
            "/realtime/tokens/",
            session=alice.session,
            csrf=False,
            body={"topics": ["user:me"]},
        ),
        "a form": request(
            service,
            "POST",
            cancel,
            session=alice.session,
            csrf=False,
            body=b"x=" + b"x" * 3_000,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        ),
    }
    for what, answer in answers.items():
        assert answer.code == 403, what
        assert answer.json()["error"]["code"] == "forbidden", what
    status = realtime.status(task_id)
    assert status is not None
    assert not status.cancelling


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        ("application/x-www-form-urlencoded", b"x=" + b"x" * 3_000_000, 413),
        ("application/x-www-form-urlencoded", b"&".join([b"x=1"] * 2_000), 400),
        ("application/x-www-form-urlencoded; charset=utf-16", b"x=1", 400),
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=\xff", b"x", 400),
    ],
)
def test_a_form_that_cannot_be_parsed_is_an_error_of_the_client(
    service: Any, kind: str, body: bytes, code: int
) -> None:
    answer = request(
        service,
        "POST",
        f"/realtime/tasks/{fresh_id()}/cancel/",
        csrf=False,
        body=body,
        headers={"Content-Type": kind, "Cookie": f"csrftoken={'a' * 32}"},
    )
    assert answer.code == code
    assert re.fullmatch("bad_request|too_large", answer.json()["error"]["code"])
