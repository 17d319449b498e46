"""Publishing while Redis is away: nothing hurts the task, and what matters arrives in order."""

import logging
import os
import socket
import threading
import time

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.test import override_settings
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from realtime.broker.redis import RedisBroker
from realtime.core.acceptance import Change
from realtime.worker import publisher as module
from realtime.worker.publisher import Publisher
from tests.until import until


class Broker:
    """A broker that is reached only while ``reachable`` is set."""

    def __init__(self):
        self.reachable = threading.Event()
        self.reachable.set()
        self.accepted = []
        self.error = RedisConnectionError("away")
        #: Whether that it is not reached is known when a change is sent, or by its answer.
        self.tells_late = False

    def accept(self, change):
        if not self.reachable.is_set():
            raise self.error
        self.accepted.append((change.task_id, change.state, change.counter))
        return 1

    def send(self, change):
        if self.tells_late:
            return lambda: self.accept(change)
        version = self.accept(change)
        return lambda: version


@pytest.fixture
def broker(monkeypatch):
    broker = Broker()
    monkeypatch.setattr(module, "get_broker", lambda: broker)
    monkeypatch.setattr(module, "_PAUSES", (0.01,))
    return broker


@pytest.fixture(params=["sent", "answered"])
def failing(request, broker):
    """The same, which can fail when a change is sent and when its answer is taken."""
    broker.tells_late = request.param == "answered"
    return broker


@pytest.fixture
def publisher(broker):
    publisher = Publisher()
    yield publisher
    broker.reachable.set()
    assert publisher.flush(5)  # its thread must not live on into the next test


def change(task_id="t", state="STARTED", counter=None):
    return Change(task_id=task_id, state=state, counter=counter)


def test_a_change_is_sent_at_once(broker, publisher):
    assert publisher.publish(change())
    assert broker.accepted == [("t", "STARTED", None)]
    assert publisher.counters.accepted == 1


def test_what_is_not_waited_for_is_answered_by_the_next_word(broker, publisher):
    broker.tells_late = True
    first = publisher.send(change("t", "STARTED"))
    assert not first.seen
    second = publisher.send(change("t", "SUCCESS"))
    assert first.seen
    assert broker.accepted == [("t", "STARTED", None)]
    publisher.settle()
    assert second.seen
    assert publisher.counters.accepted == 2


def test_an_answer_that_nobody_asks_for_is_taken_soon(broker, publisher):
    broker.tells_late = True
    broker.reachable.clear()
    broker.error = OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
    publisher.send(change())
    assert until(publisher.waiting)
    broker.reachable.set()
    assert until(lambda: broker.accepted)
    publisher.send(change("another"))
    assert until(lambda: len(broker.accepted) == 2)  # and again, after that


def test_what_a_time_limit_strikes_at_is_sent_again(broker, publisher):
    broker.tells_late = True
    publisher.send(change())
    broker.reachable.clear()
    broker.error = SoftTimeLimitExceeded()
    with pytest.raises(SoftTimeLimitExceeded):
        publisher.settle()
    broker.error = RedisConnectionError("away")
    broker.reachable.set()
    assert publisher.flush(5)
    assert broker.accepted == [("t", "STARTED", None)]


def test_a_handler_of_logs_may_publish_where_an_answer_is_taken(broker, publisher, monkeypatch):
    broker.tells_late = True
    broker.reachable.clear()
    broker.error = KeyError("a bug")
    publisher.send(change())

    def told(*_):
        broker.reachable.set()
        other = threading.Thread(target=publisher.publish, args=(change("told"),))
        other.start()
        other.join(5)

    monkeypatch.setattr(module.logger, "warning", told)
    publisher.settle()
    assert broker.accepted == [("told", "STARTED", None)]


def test_without_another_thread_the_answer_is_waited_for(broker, publisher, monkeypatch):
    def refuse(_self):
        raise RuntimeError("can't start new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert publisher.send(change()).seen


def test_what_could_not_be_sent_is_sent_in_order_when_redis_is_back(failing, publisher):
    failing.reachable.clear()
    for number in range(50):
        assert not publisher.publish(change(f"t{number}"))
    assert publisher.waiting() == 50
    failing.reachable.set()
    publisher.publish(change("last"))
    assert publisher.flush(5)
    assert [task_id for task_id, *_ in failing.accepted] == [f"t{n}" for n in range(50)] + ["last"]
    assert publisher.waiting() == 0
    assert publisher.publish(change("direct"))


def test_a_full_queue_gives_up_progress_first_and_endings_last(failing, publisher):
    failing.reachable.clear()
    with override_settings(REALTIME={**settings.REALTIME, "QUEUE_SIZE": 4}):
        publisher.publish(change("a", "STARTED"))
        publisher.publish(change("a", "PROGRESS", 1))
        publisher.publish(change("a", "SUCCESS"))
        publisher.publish(change("b", "STARTED"))
        publisher.publish(change("b", "SUCCESS"))
        publisher.publish(change("c", "SUCCESS"))
        assert publisher.counters.dropped == 2
        failing.reachable.set()
        assert publisher.flush(5)
    states = [(task_id, state) for task_id, state, _ in failing.accepted]
    assert states == [("a", "SUCCESS"), ("b", "STARTED"), ("b", "SUCCESS"), ("c", "SUCCESS")]


def test_redis_that_is_full_is_waited_for_and_nonsense_is_not(failing, publisher):
    failing.reachable.clear()
    for passing in (
        OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        ReadOnlyError("You can't write against a read only replica."),
        ResponseError("MISCONF Redis is configured to save RDB snapshots"),
    ):
        failing.error = passing
        assert not publisher.publish(change("full"))
        assert publisher.waiting() == 1
        failing.reachable.set()
        assert publisher.flush(5)
        failing.reachable.clear()
    failing.error = ResponseError("ERR wrong number of arguments")
    assert not publisher.publish(change("nonsense"))
    assert (publisher.waiting(), publisher.counters.failed) == (0, 1)


def test_a_fault_of_the_service_is_not_the_tasks(failing, publisher, caplog):
    failing.reachable.clear()
    failing.error = KeyError("a bug")
    with caplog.at_level(logging.WARNING, "realtime.publisher"):
        for _ in range(3):
            assert not publisher.publish(change())
    assert publisher.counters.failed == 3
    assert len(caplog.records) == 1  # once a minute


def test_an_id_that_no_topic_can_name_is_left_out(broker, publisher):
    assert not publisher.publish(change("a b"))
    assert not publisher.publish(change("x" * 96))
    assert (broker.accepted, publisher.counters.failed) == ([], 2)
    assert publisher.publish(change("x" * 95))


def test_the_tasks_own_time_limit_is_not_swallowed(failing, publisher):
    failing.reachable.clear()
    failing.error = SoftTimeLimitExceeded()
    with pytest.raises(SoftTimeLimitExceeded):
        publisher.publish(change())


def test_a_forked_child_starts_with_nothing_of_its_parents(failing, publisher):
    failing.reachable.clear()
    publisher.publish(change())
    child = os.fork()
    if child == 0:
        os._exit(publisher.waiting())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert publisher.waiting() == 1


@pytest.fixture
def black_hole():
    """A server that takes every connection and answers nothing, as a stopped Redis does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def refused():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@pytest.mark.parametrize("kind", ["silent", "refused"])
def test_an_absent_redis_costs_a_task_once_and_at_most_three_tenths_of_a_second(
    kind, black_hole, monkeypatch
):
    url = black_hole if kind == "silent" else refused()
    with override_settings(REALTIME={"REDIS_URL": url}):
        broker = RedisBroker()
        monkeypatch.setattr(module, "get_broker", lambda: broker)
        publisher = Publisher()
        began = time.perf_counter()
        for number in range(100):
            publisher.publish(change(f"t{number}"))
        assert time.perf_counter() - began < 0.3
        assert publisher.waiting() == 100
        publisher._queue = module._Queue()  # lets the thread end
        assert publisher.flush(5)
