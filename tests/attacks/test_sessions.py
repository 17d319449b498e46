"""Sessions and tokens that are missing, forged, expired, or for something else."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

import pytest
from django.conf import settings
from django.core import signing
from django.test import override_settings

from realtime import make_token
from tests.client.over_http import request
from tests.client.websocket import connect
from tests.publishing import fresh_id, publish_change, secret_of, token_for

pytestmark = pytest.mark.integration


_MAKE_SESSIONS = """
import json
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
user = User.objects.get(pk={key})
found = {{}}
for what in ("expired", "signed out", "cleared away"):
    client = Client()
    client.force_login(user)
    found[what] = client.cookies["sessionid"].value
    kept = Session.objects.filter(pk=found[what])
    if what == "expired":
        kept.update(expire_date=timezone.now())
    elif what == "signed out":
        client.logout()
    else:
        kept.delete()
print(json.dumps(found))
"""


async def test_an_ended_or_invalid_session_identifies_nobody(service: Any, people: Any) -> None:
    alice = people.alice
    own = fresh_id()
    publish_change(own, "PENDING", owner=alice.key)
    code = _MAKE_SESSIONS.format(key=alice.key)
    sessions = json.loads(service.run_code(code).splitlines()[-1])
    sessions |= {
        "none": "",
        "forged": "forged0000000000000000000000000",
        "one letter off": alice.session[:-1] + ("a" if alice.session[-1] != "a" else "b"),
        "longer": f"{alice.session}a",
        "a wildcard": "%",
        "SQL": "' OR '1'='1",
        "a path": "../../etc/passwd",
    }
    for what, session in sessions.items():
        async with connect(service, session=session) as client:
            for topic in ("user:me", f"user:{alice.key}"):
                answer = await client.subscribe(topic)
                assert (answer["type"], answer["code"]) == ("error", "unauthorized"), what
            assert (await client.subscribe(f"task:{own}"))["code"] == "not_found", what
        answer = request(service, "GET", f"/realtime/tasks/{own}/", session=session)
        assert answer.code == 404, what


async def test_a_token_that_is_replayed_after_its_end_shows_nothing(service: Any) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    publish_change(task_id, "PENDING")
    async with connect(service) as first:
        with override_settings(REALTIME={**settings.REALTIME, "TOKEN_AGE": 3}):
            token = token_for(service, topic)
        assert (await first.subscribe(topic, token=token))["type"] == "subscribed"
        assert (await first.event(topic))["code"] == "unauthorized", "it has ended"
        async with connect(service) as replaying:
            for client in (first, replaying):
                answer = await client.subscribe(topic, token=token)
                assert (answer["type"], answer["code"]) == ("error", "unauthorized")
            publish_change(task_id, "SUCCESS")
            assert await first.has_nothing()
            assert await replaying.has_nothing()
    for path in ("", "result/"):
        answer = request(service, "GET", f"/realtime/tasks/{task_id}/{path}", token=token)
        assert answer.code == 401
    answer = request(service, "POST", "/realtime/tokens/", token=token, body={"topics": [topic]})
    assert answer.code == 401, "it is not renewed either"


async def test_every_invalid_token_is_unauthorized(service: Any, people: Any) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    publish_change(task_id, "PENDING", owner=people.alice.key)
    good = token_for(service, topic)
    with secret_of(service):
        with mock.patch("realtime.web.access.tokens.time.time", return_value=1_700_000_000):
            expired = make_token([topic])[0]
        other_salt = signing.dumps({"topics": [topic], "ends": 2**40}, salt="another.purpose")
    forged = make_token([topic])[0]  # signed, with another key
    tokens = {
        "forged": forged,
        "expired": expired,
        "made for something else": other_salt,
        "changed": good[:-1] + ("A" if good[-1] != "A" else "B"),
        "for another topic": token_for(service, f"task:{fresh_id()}"),
        "empty": "",
        "no token": "x:y:z",
        "not ASCII": "é€😀",
    }
    # The owner's session does not help: a token, where one is given, decides alone.
    async with connect(service, session=people.alice.session) as client:
        for what, token in tokens.items():
            answer = await client.subscribe(topic, token=token)
            assert (answer["type"], answer.get("code")) == ("error", "unauthorized"), what
        assert (await client.subscribe(topic, token=good))["type"] == "subscribed"


async def test_a_token_in_the_address_grants_nothing(service: Any) -> None:
    task_id = fresh_id()
    publish_change(task_id, "PENDING")
    token = token_for(service, f"task:{task_id}")

    class Secretive:
        url, data_dir, ws_url = service.url, service.data_dir, f"{service.ws_url}?token={token}"

    async with connect(Secretive) as client:
        assert (await client.subscribe(f"task:{task_id}"))["code"] == "not_found"
