"""The findings of the oracle, on which all rows of faults rely."""

import pytest

from realtime.core.position import Position
from tests.client.protocol import Feed
from tests.client.watcher import Callback
from tests.faults.gone import outcome_delivered
from tests.faults.oracle import LOG_VARIABLE, Oracle, Truth, judge, write

TRUTHS = {"a": Truth(10.0, "SUCCESS", 1)}


def callbacks(*texts, epoch="e"):
    """Callbacks from "version:run.attempt:state[=result]"."""
    story = []
    for text in texts:
        version, place, ending = text.split(":")
        state, _, result = ending.partition("=")
        run, attempt = place.split(".")
        story.append(
            Callback(
                at=10.5,
                task="a",
                epoch=epoch,
                version=int(version),
                run=int(run),
                attempt=int(attempt),
                state=state,
                result=int(result) if result else None,
            )
        )
    return story


def verdict(story, truths=None, **options):
    return judge(TRUTHS if truths is None else truths, {"client": (["a"], story)}, **options)


def counts(found):
    return {
        kind: getattr(found, kind)
        for kind in ("lost", "doubled", "reordered", "wrong")
        if getattr(found, kind)
    }


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1:1.0:PENDING", "2:1.0:STARTED", "3:1.0:SUCCESS=1"], {}),
        (["2:1.0:STARTED", "5:1.0:STALLED", "6:1.0:STARTED", "7:1.0:SUCCESS=1"], {"wrong": 1}),
        (["1:1.0:STARTED", "2:1.0:RETRY", "3:1.1:RECEIVED", "4:1.1:SUCCESS=1"], {}),
        (
            ["1:1.0:STARTED", "2:1.0:STALLED", "3:1.0:RECEIVED", "4:2.0:SUCCESS=1"],
            {"wrong": 1},  # as above: the task was not allowed to stall
        ),
        (["1:1.0:STARTED", "2:2.0:STARTED", "3:2.0:SUCCESS=1"], {}),
        ([], {"lost": 1}),
        (["1:1.0:STARTED"], {"lost": 1}),
        (["1:1.0:FAILURE"], {"wrong": 1}),
        (["1:1.0:SUCCESS=2"], {"wrong": 1}),
        (["1:1.0:SUCCESS=1", "1:1.0:SUCCESS=1"], {"doubled": 1, "reordered": 1}),
        (["1:1.0:FAILURE", "2:1.0:FAILURE"], {"doubled": 1, "wrong": 1}),
        (["2:1.0:STARTED", "1:1.0:RECEIVED", "3:1.0:SUCCESS=1"], {"reordered": 1}),
        (["1:1.0:STARTED", "2:1.0:RECEIVED", "3:1.0:SUCCESS=1"], {"reordered": 1}),
        (["1:1.1:STARTED", "2:1.0:RETRY", "3:1.1:SUCCESS=1"], {"reordered": 1}),
        (["1:2.0:STARTED", "2:1.0:STARTED", "3:2.0:SUCCESS=1"], {"reordered": 1}),
        (["1:1.0:SUCCESS=1", "2:2.0:STARTED"], {"lost": 1, "reordered": 1}),
    ],
)
def test_callbacks_are_compared_with_the_true_outcome(texts, expected):
    assert counts(verdict(callbacks(*texts))) == expected


def test_a_task_that_never_ended_is_wrong_and_not_lost():
    assert counts(verdict(callbacks("1:1.0:STARTED"), truths={})) == {"wrong": 1}


def test_a_task_whose_worker_went_may_stall():
    story = callbacks("1:1.0:STARTED", "2:1.0:STALLED", "3:1.0:LOST")
    assert counts(verdict(story, {"a": Truth(1.0, "LOST")}, may_stall=["a"])) == {}


def test_versions_begin_again_in_a_new_epoch_and_an_ending_does_not():
    ending = callbacks("5:1.0:SUCCESS=1", epoch="one")
    started = callbacks("4:1.0:STARTED", epoch="one")
    assert counts(verdict(started + callbacks("1:1.0:SUCCESS=1"))) == {}
    assert counts(verdict(ending + callbacks("1:1.0:SUCCESS=1"))) == {"doubled": 1, "reordered": 1}


def test_latency_is_from_the_outcome_or_from_when_the_client_came():
    assert verdict(callbacks("1:1.0:SUCCESS=1")).latencies == [0.5]
    assert verdict(callbacks("1:1.0:SUCCESS=1"), not_before=10.25).latencies == [0.25]


def test_the_log_is_read_as_it_grows_and_a_success_stays(tmp_path, monkeypatch):
    oracle = Oracle(tmp_path / "log")
    monkeypatch.setenv(LOG_VARIABLE, str(oracle.path))
    write("SUCCESS", "a", result=1)
    with oracle.path.open("a") as file:
        file.write('{"at": 1, "what": "FAI')
    oracle.read_log()
    assert oracle.truths["a"].result == 1
    with oracle.path.open("a") as file:
        file.write('LURE", "task": "b"}\n')
    write("SUCCESS", "a", result=2)
    oracle.read_log()
    assert (oracle.truths["a"].result, oracle.truths["b"].state) == (1, "FAILURE")


def test_a_callback_before_the_outcome_is_wrong_unless_its_moment_was_noted():
    story = callbacks("1:1.0:SUCCESS=1")
    assert counts(verdict(story, {"a": Truth(10.6, "SUCCESS", 1)})) == {"wrong": 1}
    assert counts(verdict(story, {"a": Truth(10.6, "SUCCESS", 1, is_noted=True)})) == {}


def test_a_task_that_ran_twice_ends_as_one_of_its_runs():
    first, second = Truth(6.0, "SUCCESS", 11), Truth(9.0, "SUCCESS", 22)
    assert outcome_delivered([first, second], 22) is second
    assert outcome_delivered([first, second], 33) is first


def test_a_doubled_ending_is_called_back_twice_within_an_epoch_only():
    feed = Feed("task:a")
    failure = {"task_id": "a", "version": 1, "state": "FAILURE", "run": 1, "attempt": 0}
    again = failure | {"version": 2}
    assert feed.replace(Position("e", 1), [failure]) == [failure]
    assert feed.add_event(Position("e", 2), 0, again) == [again]
    assert feed.add_event(Position("e", 3), 0, again) == [again]
    assert feed.replace(Position("f", 1), [failure]) == []
    assert feed.replace(Position("g", 0), []) == []
    assert feed.add_event(Position("g", 1), 0, failure) == []
    assert feed.add_event(Position("g", 2), 0, again) == [again]


def test_a_feed_refuses_frames_against_the_contract():
    feed = Feed("task:a")
    status = {"task_id": "a", "version": 1, "state": "STARTED", "run": 1, "attempt": 0}
    assert feed.replace(Position("e", 4), [status]) == [status]
    assert feed.add_event(Position("e", 6), 1, status | {"version": 2})
    for offset, merged in ((6, 0), (8, 0), (5, 0)):
        with pytest.raises(ValueError, match="after"):
            feed.add_event(Position("e", offset), merged, status | {"version": 3})
    assert feed.replace(Position("e", 9), [status]) == []
