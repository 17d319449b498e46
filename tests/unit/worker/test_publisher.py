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


class Broker:
    """A broker that is reached only while ``reachable`` is set."""

    def __init__(self):
        self.reachable = threading.Event()
        self.reachable.set()
        self.accepted = []
        self.error = RedisConnectionError("away")

    def accept(self, change):
        if not self.reachable.is_set():
            raise self.error
        self.accepted.append((change.task_id, change.state, change.counter))
        return 1


@pytest.fixture
def broker(monkeypatch):
    broker = Broker()
    monkeypatch.setattr(module, "get_broker", lambda: broker)
    monkeypatch.setattr(module, "_PAUSES", (0.01,))
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


def test_what_could_not_be_sent_is_sent_in_order_when_redis_is_back(broker, publisher):
    broker.reachable.clear()
    for number in range(50):
        assert not publisher.publish(change(f"t{number}"))
    assert publisher.waiting() == 50
    broker.reachable.set()
    publisher.publish(change("last"))
    assert publisher.flush(5)
    assert [task_id for task_id, *_ in broker.accepted] == [f"t{n}" for n in range(50)] + ["last"]
    assert publisher.waiting() == 0
    assert publisher.publish(change("direct"))


def test_a_full_queue_gives_up_progress_first_and_endings_last(broker, publisher):
    broker.reachable.clear()
    with override_settings(REALTIME={**settings.REALTIME, "QUEUE_SIZE": 4}):
        publisher.publish(change("a", "STARTED"))
        publisher.publish(change("a", "PROGRESS", 1))
        publisher.publish(change("a", "SUCCESS"))
        publisher.publish(change("b", "STARTED"))
        publisher.publish(change("b", "SUCCESS"))
        publisher.publish(change("c", "SUCCESS"))
        assert publisher.counters.dropped == 2
        broker.reachable.set()
        assert publisher.flush(5)
    states = [(task_id, state) for task_id, state, _ in broker.accepted]
    assert states == [("a", "SUCCESS"), ("b", "STARTED"), ("b", "SUCCESS"), ("c", "SUCCESS")]


def test_redis_that_is_full_is_waited_for_and_nonsense_is_not(broker, publisher):
    broker.reachable.clear()
    for passing in (
        OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        ReadOnlyError("You can't write against a read only replica."),
        ResponseError("MISCONF Redis is configured to save RDB snapshots"),
    ):
        broker.error = passing
        assert not publisher.publish(change("full"))
        assert publisher.waiting() == 1
        broker.reachable.set()
        assert publisher.flush(5)
        broker.reachable.clear()
    broker.error = ResponseError("ERR wrong number of arguments")
    assert not publisher.publish(change("nonsense"))
    assert (publisher.waiting(), publisher.counters.failed) == (0, 1)


def test_a_fault_of_the_service_is_not_the_tasks(broker, publisher, caplog):
    broker.reachable.clear()
    broker.error = KeyError("a bug")
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


def test_the_tasks_own_time_limit_is_not_swallowed(broker, publisher):
    broker.reachable.clear()
    broker.error = SoftTimeLimitExceeded()
    with pytest.raises(SoftTimeLimitExceeded):
        publisher.publish(change())


def test_a_forked_child_starts_with_nothing_of_its_parents(broker, publisher):
    broker.reachable.clear()
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
