"""Topics, and the groups that carry them."""

import re

import pytest
from channels.layers import InMemoryChannelLayer
from hypothesis import given
from hypothesis import strategies as st

from realtime.core.topics import KINDS, Topic, group_name, is_task_id


@pytest.mark.parametrize(
    ("text", "kind", "ident"),
    [
        ("task:1d2f-A.b_c", "task", "1d2f-A.b_c"),
        ("user:42", "user", "42"),
        ("user:me", "user", "me"),
        ("task:" + "a" * 255, "task", "a" * 255),
        ("task:a:b", "task", "a:b"),
        ("task: a b ", "task", " a b "),
        ("task:a/b#c?d", "task", "a/b#c?d"),
        ("task:..", "task", ".."),
        ("task:*[a]{b}", "task", "*[a]{b}"),
        ("user:Übung 😀", "user", "Übung 😀"),
        ("task:" + "😀" * 255, "task", "😀" * 255),
    ],
)
def test_a_topic_is_read_and_written(text, kind, ident):
    topic = Topic.parse(text)
    assert topic == Topic(kind, ident)
    assert str(topic) == text
    assert is_task_id(ident)


@pytest.mark.parametrize(
    "text",
    [
        None, 5, ["task:a"], b"task:a", "", ":", "task", "task:", ":a", "Task:a", "task :a",
        " task:a", "task:a\n", "task:\x00", "task:a\x1fb", "task:\x7f", "task:a\x85",
        "task:\u2028", "user:\u2029", "task:\ud800", "flow", "flow:a", "colour:red",
        "task:" + "a" * 256,
    ],
)  # fmt: skip
def test_a_value_that_is_no_topic_is_refused(text):
    with pytest.raises(ValueError, match="topic "):
        Topic.parse(text)


@pytest.mark.parametrize("given", [None, 7, b"a", "", "a\n", "a" * 256])
def test_a_value_that_no_topic_can_name_is_no_task_id(given):
    assert not is_task_id(given)


def test_only_the_topic_of_a_task_has_no_list():
    assert [kind for kind in KINDS if not Topic(kind, "1").has_list] == ["task"]


def test_the_name_of_a_group_contains_its_topic():
    assert group_name("task:1d2f", prefix="realtime") == "realtime.task.1d2f"
    assert group_name("task:1d2f", prefix="realtime", database=3) == "realtime.3.task.1d2f"


@given(st.text(max_size=300), st.text(max_size=120), st.integers(0, 99))
def test_every_group_is_a_name_that_channels_accepts(ident, prefix, database):
    name = group_name(f"task:{ident}", prefix=prefix, database=database)
    assert InMemoryChannelLayer().require_valid_group_name(name)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,99}", name)


def test_groups_of_different_services_and_topics_differ():
    prefixes = ["a", "a.1", "a.task", "a b", "a c", "sha256", "", "a" * 90, "a" * 120, "a.1.task"]
    topics = [
        "task:x",
        "user:x",
        "task:x y",
        "task:x:y",
        "task:1.task.x",
        "task:" + "a" * 95,
        "access",
    ]
    names = [
        group_name(topic, prefix=prefix, database=database)
        for prefix in prefixes
        for database in (0, 1, 12)
        for topic in topics
    ]
    assert len(set(names)) == len(names)


short = st.text("a.:1 ", min_size=1, max_size=6)


@given(short, st.integers(0, 2), short, short, st.integers(0, 2), short)
def test_no_two_services_and_topics_share_a_group(prefix, database, ident, other, number, theirs):
    one = (prefix, database, f"task:{ident}")
    two = (other, number, f"task:{theirs}")
    names = [group_name(topic, prefix=p, database=d) for p, d, topic in (one, two)]
    assert (names[0] == names[1]) == (one == two)
