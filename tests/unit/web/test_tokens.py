"""Signed tokens, and the template tag that puts a token into a page."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from unittest import mock

import pytest
from django.core import signing
from django.template import Context, Template
from django.test import override_settings

from realtime.core.topics import Topic
from realtime.exceptions import TokenError
from realtime.ownership import owner_topic
from realtime.web.access.tokens import make_token, read_token

TASK = Topic("task", "a-1")


def test_a_token_grants_its_topics_and_nothing_else():
    token, _ = make_token(["task:a-1", Topic("user", "7")])
    assert read_token(token) == {TASK, Topic("user", "7")}


def test_a_token_ends_after_token_age():
    before, age = datetime.now(UTC), timedelta(seconds=60)
    with override_settings(REALTIME={"TOKEN_AGE": 60}):
        token, ends = make_token([TASK])
    assert before + age - timedelta(seconds=1) <= ends <= datetime.now(UTC) + age
    for late, is_valid in ((-1, True), (1, False)):
        with mock.patch(
            "realtime.web.access.tokens.time.time", return_value=ends.timestamp() + late
        ):
            if is_valid:
                assert read_token(token)
            else:
                with pytest.raises(TokenError, match="not valid any more"):
                    read_token(token)


@pytest.mark.parametrize("token", ["", "x", "a:b", "a:b:c", ":::", "é:ü:ö", "." * 5000])
def test_a_text_that_is_no_token_grants_nothing(token):
    with pytest.raises(TokenError):
        read_token(token)


def test_a_changed_token_grants_nothing():
    token, _ = make_token([TASK])
    for place in (0, len(token) // 2, len(token) - 2):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(TokenError):
            read_token(changed)


def test_a_value_signed_for_another_purpose_grants_nothing():
    with pytest.raises(TokenError):
        read_token(signing.dumps({"topics": ["task:a-1"], "ends": 2**40}))


def test_a_token_is_valid_while_its_key_is_a_fallback():
    with override_settings(SECRET_KEY="old"):
        token, _ = make_token([TASK])
    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["old"]):
        assert read_token(token) == {TASK}
    with override_settings(SECRET_KEY="new"), pytest.raises(TokenError):
        read_token(token)


def test_no_token_is_made_for_a_text_that_is_no_topic():
    with pytest.raises(ValueError, match="topic must be"):
        make_token(["colour:red"])


# The template tag


def render(source, **context):
    return Template("{% load realtime %}" + source).render(Context(context))


def test_a_page_gets_a_token_for_its_topics():
    token = render("{% realtime_token topic 'task:b' %}", topic="task:a-1")
    assert read_token(token) == {TASK, Topic("task", "b")}


def test_a_page_without_topics_gets_a_token_for_all_tasks_of_the_user():
    user = SimpleNamespace(is_authenticated=True, pk=7)
    token = render("{% realtime_token %}", request=SimpleNamespace(user=user))
    assert read_token(token) == {Topic("user", "7")}


def test_a_visitor_who_has_started_no_task_gets_no_session():
    request = SimpleNamespace(user=None, session={})
    assert render("[{% realtime_token %}]", request=request) == "[]"
    assert request.session == {}


def test_a_visitor_who_has_started_a_task_gets_a_token_for_it():
    request = SimpleNamespace(user=None, session={})
    topic = Topic.parse(owner_topic(request))
    assert topic.ident.startswith("visitor-")
    for _ in range(2):
        assert read_token(render("{% realtime_token %}", request=request)) == {topic}


def test_a_visitor_without_a_session_gets_an_empty_string():
    assert render("[{% realtime_token %}]", request=SimpleNamespace(user=None)) == "[]"
