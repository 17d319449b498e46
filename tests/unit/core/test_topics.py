"""Topics, and the groups that carry them."""

import re

import pytest
from channels.layers import InMemoryChannelLayer
from hypothesis import given
from hypothesis import strategies as st

from realtime.core.topics import Topic, group_name, topics_of


@pytest.mark.parametrize(
    ("text", "kind", "ident"),
    [
        ("task:1d2f-A.b_c", "task", "1d2f-A.b_c"),
        ("user:42", "user", "42"),
        ("user:me", "user", "me"),
        ("task:" + "a" * 95, "task", "a" * 95),
    ],
)
def test_a_topic_is_read_and_written(text, kind, ident):
    topic = Topic.parse(text)
    assert topic == Topic(kind, ident)
    assert str(topic) == text


@pytest.mark.parametrize(
    "text",
    [
        None, 5, ["task:a"], b"task:a", "", ":", "task", "task:", ":a", "Task:a", "task :a",
        "task:a ", " task:a", "task:a\n", "task:a:b", "task:*", "task:?", "task:[a]", "task:{a}",
        "task:a/b", "task:ä", "task:\u0661", "task:\x00", "task:\ud800", "flow", "colour:red",
        "task:" + "a" * 96,
    ],
)  # fmt: skip
def test_what_is_no_topic_is_refused(text):
    with pytest.raises(ValueError, match="topic "):
        Topic.parse(text)


def test_only_a_task_is_one_task():
    assert Topic("user", "1").holds_many
    assert not Topic("task", "1").holds_many


def test_a_tasks_events_go_to_its_own_topic_and_its_owners():
    assert topics_of("a", "7") == ("task:a", "user:7")
    assert topics_of("a", "") == ("task:a",)


def test_a_group_reads_like_its_topic():
    assert group_name("task:1d2f") == "realtime.task.1d2f"


@given(st.text(max_size=200))
def test_every_group_is_a_name_that_channels_takes(ident):
    name = group_name(f"task:{ident}")
    assert InMemoryChannelLayer().require_valid_group_name(name)
    assert re.fullmatch(r"realtime\.[A-Za-z0-9._-]+", name)


def test_groups_of_different_topics_differ():
    topics = ["task:a", "user:a", "task:" + "a" * 95, "task:" + "a" * 96, "task:a b", "task:a c"]
    assert len({group_name(topic) for topic in topics}) == len(topics)
