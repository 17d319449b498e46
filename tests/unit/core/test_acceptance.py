"""Accepting a change, by the table that the Lua script is held to as well."""

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.core.acceptance import TOKENS_KEPT, Change, accept
from realtime.core.states import SUCCESS, TERMINAL

CASES = json.loads((Path(__file__).parents[2] / "cases" / "acceptance.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_accept_follows_the_table(case):
    kept, version = None, 0
    for row in case["changes"]:
        words = {key: value for key, value in row.items() if key != "version"}
        news = accept(kept, Change(task_id="t", **words))
        if row["version"]:
            version += 1
            assert (news is not None, version) == (True, row["version"]), row
            kept = news
        else:
            assert news is None, row
    assert {key: getattr(kept, key) for key in case["ends"]} == case["ends"]


changes = st.builds(
    Change,
    task_id=st.just("t"),
    state=st.sampled_from(
        ["PENDING", "RECEIVED", "STARTED", "PROGRESS", "STALLED", "RETRY", *sorted(TERMINAL)]
    ),
    attempt=st.none() | st.integers(0, 3),
    token=st.sampled_from(["", "a", "b", "c"]),
    begins=st.booleans(),
    counter=st.none() | st.integers(1, 5),
    stored=st.booleans(),
)


@given(st.lists(changes, max_size=30))
def test_whatever_comes_the_order_only_rises_and_success_stays(words):
    kept = None
    for change in words:
        news = accept(kept, change)
        if news is None:
            continue
        if kept is not None:
            assert kept.state != SUCCESS
            before = (kept.run, kept.attempt, kept.rank, kept.counter)
            after = (news.run, news.attempt, news.rank, news.counter)
            overruled = change.stored and news.state == SUCCESS and kept.state in TERMINAL
            stalling = "STALLED" in (kept.state, news.state)
            assert after > before or overruled or (stalling and after == before)
        assert accept(news, change) is None or change.counter is None
        kept = news


@given(st.permutations(range(6)))
def test_one_run_ends_the_same_in_whatever_order_its_words_arrive(order):
    life = [
        Change(task_id="t", state="PENDING", attempt=0),
        Change(task_id="t", state="RECEIVED", attempt=0),
        Change(task_id="t", state="STARTED", attempt=0, token="a", begins=True),
        Change(task_id="t", state="PROGRESS", attempt=0, token="a", begins=True, counter=1),
        Change(task_id="t", state="PROGRESS", attempt=0, token="a", begins=True, counter=2),
        Change(task_id="t", state="SUCCESS", attempt=0, token="a", begins=True),
    ]
    kept = None
    for number in order:
        kept = accept(kept, life[number]) or kept
    assert (kept.state, kept.run, kept.attempt) == ("SUCCESS", 1, 0)


def test_a_record_remembers_only_its_newest_tokens():
    kept = None
    for attempt in itertools.count():
        change = Change(
            task_id="t", state="STARTED", attempt=attempt, token=f"t{attempt}", begins=True
        )
        kept = accept(kept, change)
        if attempt == 2 * TOKENS_KEPT:
            break
    assert kept.tokens == tuple(f"t{n}" for n in range(attempt - TOKENS_KEPT + 1, attempt + 1))
