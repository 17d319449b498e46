"""Accepting a change, by the table that tests the Lua script too."""

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.core.change import Change
from realtime.core.decide import PUBLICATIONS_KEPT, RUN_IDS_KEPT, SENDERS_KEPT, decide, forget
from realtime.core.states import SUCCESS, TERMINAL

CASES = json.loads((Path(__file__).parents[2] / "cases" / "acceptance.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_accept_follows_the_table(case):
    kept, version = None, 0
    for row in case["changes"]:
        fields = {key: value for key, value in row.items() if key != "version"}
        news = decide(kept, Change(task_id="t", **fields))
        if row["version"]:
            version += 1
            assert (news is not None, version) == (True, row["version"]), row
            kept = news
        else:
            assert news is None, row
    assert {key: getattr(kept, key) for key in case["ends"]} == case["ends"]


publications = st.sampled_from(["", "p", "q", "r"])
changes = st.builds(
    Change,
    task_id=st.just("t"),
    state=st.sampled_from(
        ["PENDING", "RECEIVED", "STARTED", "PROGRESS", "STALLED", "RETRY", *sorted(TERMINAL)]
    ),
    attempt=st.none() | st.integers(0, 3),
    run_id=st.sampled_from(["", "a", "b", "c"]),
    begins=st.booleans(),
    counter=st.none() | st.integers(1, 5),
    stored=st.booleans(),
    sender=st.sampled_from(["", "s", "t"]),
    publication=publications,
    owner=st.just(""),
    worker=st.sampled_from(["", "w", "v"]),
    redelivery_timeout=st.just(0),
    dependents=st.just(()),
    fields=st.just({}),
)


def order(kept):
    return kept.run, kept.attempt, kept.rank, kept.counter


@given(st.lists(changes, max_size=30))
def test_in_any_sequence_of_changes_the_order_only_rises_and_success_stays(sequence):
    kept = None
    for change in sequence:
        news = decide(kept, change)
        if news is None:
            continue
        if kept is not None and news.lives > kept.lives:
            assert news.run > kept.run
            assert news.publication not in ("", kept.publication, *kept.publications)
            assert kept.state in TERMINAL or change.begins
        elif kept is not None:
            assert kept.state != SUCCESS
            assert news.publication == (kept.publication or change.publication)
            overruled = change.stored and news.state == SUCCESS and kept.state in TERMINAL
            laid_over = order(news) == order(kept) and kept.state not in TERMINAL
            assert order(news) > order(kept) or overruled or laid_over
        # A repeated change is stale if a counter distinguishes it from the next one.
        numbered = change.counter is not None and (change.run_id or change.sender)
        assert decide(news, change) is None or not numbered
        kept = news


@given(st.lists(changes, max_size=30), publications, changes)
def test_an_older_change_is_refused(sequence, publication, change):
    kept = None
    for each in sequence:
        kept = decide(kept, each) or kept
    if kept is None:
        return
    if publication in kept.publications:
        assert decide(kept, change._replace(publication=publication)) is None
    if change.run_id and change.run_id != kept.run_id and change.run_id in kept.run_ids:
        answers = change.state == "RECEIVED" and kept.state == "STALLED"
        assert decide(kept, change) is None or answers


@given(st.lists(changes, max_size=30), changes)
def test_a_forgotten_task_accepts_no_change_until_it_is_published_again(sequence, change):
    kept = None
    for each in sequence:
        kept = decide(kept, each) or kept
    if kept is None:
        return
    left = forget(kept)
    known = ("", kept.publication, *kept.publications)
    again = decide(left, change)
    if change.publication in known or change.state == "STALLED":
        assert again is None
    elif again is not None:
        assert (again.run, again.lives) == (1, kept.lives + 1)
    else:
        assert change.run_id in kept.run_ids


@given(st.permutations(range(1, 6)), st.permutations(range(1, 6)))
def test_each_senders_counters_only_rise_in_whatever_order_they_arrive(ones, others):
    kept = decide(None, Change(task_id="t", state="STARTED", run_id="a", begins=True))
    accepted = {"s": [], "t": []}
    for pair in zip(ones, others, strict=True):
        for sender, number in zip("st", pair, strict=True):
            change = Change(task_id="t", state="PROGRESS", sender=sender, counter=number)
            if news := decide(kept, change):
                assert (news.run_id, order(news)) == (kept.run_id, order(kept))
                accepted[sender].append(number)
                kept = news
    for numbers in accepted.values():
        assert numbers == sorted(set(numbers))
        assert numbers[-1] == 5


@given(st.permutations(range(6)))
def test_one_run_ends_the_same_in_whatever_order_its_changes_arrive(order):
    life = [
        Change(task_id="t", state="PENDING", attempt=0),
        Change(task_id="t", state="RECEIVED", attempt=0),
        Change(task_id="t", state="STARTED", attempt=0, run_id="a", begins=True),
        Change(task_id="t", state="PROGRESS", attempt=0, run_id="a", begins=True, counter=1),
        Change(task_id="t", state="PROGRESS", attempt=0, run_id="a", begins=True, counter=2),
        Change(task_id="t", state="SUCCESS", attempt=0, run_id="a", begins=True),
    ]
    kept = None
    for number in order:
        kept = decide(kept, life[number]) or kept
    assert (kept.state, kept.run, kept.attempt) == ("SUCCESS", 1, 0)


def test_a_record_keeps_only_its_newest_run_ids():
    kept = None
    for attempt in itertools.count():
        change = Change(
            task_id="t", state="STARTED", attempt=attempt, run_id=f"t{attempt}", begins=True
        )
        kept = decide(kept, change)
        if attempt == 2 * RUN_IDS_KEPT:
            break
    assert kept.run_ids == tuple(f"t{n}" for n in range(attempt - RUN_IDS_KEPT + 1, attempt + 1))


def test_a_record_keeps_a_limited_number_of_older_publications_and_senders():
    kept = None
    for number in range(2 * PUBLICATIONS_KEPT):
        change = Change(task_id="t", state="REVOKED", publication=f"p{number}")
        kept = decide(kept, change)
    assert kept.publications == tuple(f"p{n}" for n in range(number - PUBLICATIONS_KEPT, number))
    kept = decide(kept, Change(task_id="t", state="PENDING", publication="q"))
    for number in range(2 * SENDERS_KEPT):
        change = Change(task_id="t", state="PROGRESS", sender=f"s{number}", counter=1)
        kept = decide(kept, change)
    first = number - SENDERS_KEPT + 1
    assert kept.senders == tuple((f"s{n}", 1) for n in range(first, number + 1))
