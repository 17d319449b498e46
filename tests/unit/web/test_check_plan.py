"""What a regular check compares: nothing, some topics, or all."""

import pytest

from realtime.core.position import Head, Position
from realtime.store.recent import Place, Recent
from realtime.web.check_plan import EVERY, UNLISTED_CHECKS, CheckPlan

HEAD = Head(Position("e", 1), 7)
TOPICS = [f"task:{number}" for number in range(200)]
PLACE = Place("list", 1, "e 1 7 task:x")


def check(plan, *listed, watched=TOPICS, different=(), known=True):
    """Make and end one check; return its plan."""
    received = plan.begin()
    recent = Recent(PLACE, dict.fromkeys(listed, HEAD) if known else None)
    made = plan.make(watched, received, recent)
    plan.end(made, recent, set(different))
    return made


@pytest.fixture
def plan():
    """A plan whose first check is over."""
    plan = CheckPlan()
    assert set(check(plan, known=False).names) == set(TOPICS)
    return plan


def test_all_heads_are_compared_where_the_store_does_not_know_what_changed(plan):
    made = check(plan, known=False)
    assert (set(made.names), made.listed) == (set(TOPICS), {})


def test_listed_heads_are_compared_and_a_tenth_is_read(plan):
    made = check(plan, "task:1", "task:not watched")
    assert made.listed == {"task:1": HEAD}
    assert 0 < len(made.names) < len(TOPICS) / 4
    assert plan.place == PLACE


def test_every_topic_is_read_once_in_ten_checks_also_while_others_come_and_go(plan):
    read = []
    for number in range(EVERY):
        watched = [*TOPICS, *(f"task:{number}-{each}" for each in range(number * 7))]
        read += [name for name in check(plan, watched=watched).names if name in TOPICS]
    assert sorted(read) == sorted(TOPICS)


def test_an_event_that_is_not_listed_is_compared_at_once(plan):
    check(plan)
    for name in ("task:1", "task:2", "task:left"):
        plan.note_event(name)
    made = check(plan, "task:2", different=["task:1"])
    assert made.unlisted == {"task:1"}
    assert "task:1" in made.names
    assert len(check(plan).names) < len(TOPICS), "the store does not have it: it was forged"


def test_after_an_event_that_the_store_has_and_did_not_list_all_are_compared_for_a_while(plan):
    check(plan)
    plan.note_event("task:1")
    check(plan)
    for _ in range(UNLISTED_CHECKS):
        assert set(check(plan, "task:2").names) == set(TOPICS)
    assert len(check(plan).names) < len(TOPICS)


def test_an_event_may_have_been_listed_at_the_check_before(plan):
    check(plan, "task:1")
    plan.note_event("task:1")
    made = check(plan)
    assert made.unlisted == set()
    assert "task:1" in made.names, "or it is forged, or the store has lost it since"
    check(plan, known=False)
    plan.note_event("task:1")
    assert check(plan).unlisted == {"task:1"}
    assert len(check(plan).names) < len(TOPICS), "what the check before had is not known"
