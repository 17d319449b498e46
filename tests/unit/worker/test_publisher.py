"""Publishing while Redis does not answer: tasks continue, and their changes arrive in order."""

import logging
import os
import socket
import threading
import time

import pytest
import redis
from billiard.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.test import override_settings
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError, WatchError

from realtime.core.change import Change
from realtime.store.redis import RedisStore
from realtime.worker import publisher as module
from realtime.worker.publisher import Publisher, SentChange
from realtime.worker.timer import Timer
from tests.until import until


class Store:
    """A store that replies only while ``reachable`` is set."""

    def __init__(self):
        self.reachable = threading.Event()
        self.reachable.set()
        self.accepted = []
        self.error = RedisConnectionError("away")
        #: Whether it accepts a change when the reply is read, and not when the change is sent.
        self.replies_late = False
        #: An exception that is raised once in a waiting caller.
        self.interrupt = None

    def accept(self, change):
        interrupt, self.interrupt = self.interrupt, None
        if interrupt:
            raise interrupt
        if not self.reachable.is_set():
            raise self.error
        self.accepted.append((change.task_id, change.state, change.counter))
        return 1

    def send(self, change):
        if self.replies_late:
            return lambda: self.accept(change)
        version = self.accept(change)
        return lambda: version


@pytest.fixture
def store(monkeypatch):
    store = Store()
    monkeypatch.setattr(module, "get_store", lambda: store)
    monkeypatch.setattr(module, "_PAUSES", (0.01,))
    monkeypatch.setattr(module, "_REPLY_WITHIN", 3600)  # the tests of it set another value
    return store


@pytest.fixture(params=["sent", "answered"])
def failing(request, store):
    """The same store, failing when a change is sent, or when its reply is read."""
    store.replies_late = request.param == "answered"
    return store


@pytest.fixture
def publisher(store):
    publisher = Publisher()
    yield publisher
    store.reachable.set()
    assert publisher.flush(5)  # none of its changes must reach the next test


def change(task_id="t", state="STARTED", counter=None):
    return Change(task_id=task_id, state=state, counter=counter)


def test_a_change_is_sent_at_once(store, publisher):
    assert publisher.publish(change())
    assert store.accepted == [("t", "STARTED", None)]
    assert publisher.counters.accepted == 1


def test_a_pipelined_reply_is_read_with_the_next_change(store, publisher):
    store.replies_late = True
    first = publisher.send(change("t", "STARTED"))
    assert not first.acknowledged
    second = publisher.send(change("t", "SUCCESS"))
    assert first.acknowledged
    assert store.accepted == [("t", "STARTED", None)]
    publisher.read_replies()
    assert second.acknowledged
    assert publisher.counters.accepted == 2


def test_a_reply_without_a_next_change_is_read_soon(store, publisher, monkeypatch):
    monkeypatch.setattr(module, "_REPLY_WITHIN", 0.01)
    store.replies_late = True
    store.reachable.clear()
    store.error = OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
    publisher.send(change())
    assert until(publisher.queue_size)
    store.reachable.set()
    assert until(lambda: store.accepted)
    publisher.send(change("another"))
    assert until(lambda: len(store.accepted) == 2)  # the next reply too


def test_the_end_of_a_process_waits_for_the_reply(store, publisher):
    store.replies_late = True
    sent = publisher.send(change())
    assert publisher.flush(5)
    assert sent.acknowledged


@pytest.mark.parametrize("interrupt", [SoftTimeLimitExceeded(), SystemExit(), KeyboardInterrupt()])
def test_a_change_that_a_time_limit_interrupts_is_published_all_the_same(
    store, publisher, interrupt
):
    store.replies_late = True
    publisher.send(change("t", "STARTED"))
    store.interrupt = interrupt
    with pytest.raises(type(interrupt)):
        publisher.send(change("t", "SUCCESS"))
    assert publisher.flush(5)
    assert store.accepted == [("t", "STARTED", None), ("t", "SUCCESS", None)]


def test_a_change_waits_while_another_thread_reads_the_reply_before_it(store, publisher):
    begun, go_on = threading.Event(), threading.Event()
    sent = []

    def send(change):
        def answer():
            begun.set()
            go_on.wait(30)
            return 1

        sent.append(change.task_id)
        return answer

    store.send = send
    publisher.send(change("first"))
    reader = threading.Thread(target=publisher.read_replies)
    reader.start()
    assert begun.wait(30)
    sender = threading.Thread(target=publisher.send, args=(change("second"),))
    sender.start()
    sender.join(0.1)
    assert sent == ["first"]
    go_on.set()
    reader.join(5)
    sender.join(5)
    assert sent == ["first", "second"]


def test_after_one_missing_reply_the_others_are_not_awaited(store, publisher):
    sent = []

    def send(change):
        def answer():
            sent.append(change.task_id)
            raise RedisConnectionError("away")

        return answer

    store.send = send
    store.reachable.clear()
    for number in range(3):
        publisher.send(change(f"t{number}"))
    assert until(lambda: publisher.queue_size() == 3)
    assert sent == ["t0"]
    del store.send


def test_a_log_handler_may_publish_while_a_reply_is_read(store, publisher, monkeypatch):
    store.replies_late = True
    store.reachable.clear()
    store.error = KeyError("a bug")
    publisher.send(change())

    def publish_another(*_):
        if threading.current_thread() is not reader:
            return  # a thread of an earlier test
        store.reachable.set()
        other = threading.Thread(target=publisher.publish, args=(change("another"),))
        other.start()
        other.join(5)

    reader = threading.current_thread()
    monkeypatch.setattr(module.logger, "warning", publish_another)
    publisher.read_replies()
    assert publisher.flush(5)
    assert store.accepted == [("another", "STARTED", None)]


def test_without_another_thread_the_publisher_waits_for_the_reply(store, publisher, monkeypatch):
    def refuse(_self):
        raise RuntimeError("can't start new thread at interpreter shutdown")

    store.replies_late = True
    monkeypatch.setattr(module, "timer", Timer())
    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", refuse)
        assert publisher.send(change()).acknowledged
    assert not publisher.send(change()).acknowledged  # a thread can be started again


def test_queued_changes_are_sent_in_order_when_redis_is_back(failing, publisher):
    failing.reachable.clear()
    for number in range(50):
        assert not publisher.publish(change(f"t{number}"))
    assert until(lambda: publisher.queue_size() == 50)
    failing.reachable.set()
    publisher.publish(change("last"))
    assert publisher.flush(5)
    assert [task_id for task_id, *_ in failing.accepted] == [f"t{n}" for n in range(50)] + ["last"]
    assert publisher.queue_size() == 0
    assert publisher.publish(change("direct"))


def test_a_full_queue_drops_progress_first_and_endings_last(failing, publisher):
    failing.reachable.clear()
    with override_settings(REALTIME={**settings.REALTIME, "MAX_QUEUED_CHANGES": 4}):
        publisher.publish(change("a", "STARTED"))
        publisher.publish(change("a", "PROGRESS", 1))
        publisher.publish(change("a", "SUCCESS"))
        publisher.publish(change("b", "STARTED"))
        publisher.publish(change("b", "SUCCESS"))
        publisher.publish(change("c", "SUCCESS"))
        assert until(lambda: publisher.counters.dropped == 2)
        failing.reachable.set()
        assert publisher.flush(5)
    states = [(task_id, state) for task_id, state, _ in failing.accepted]
    assert states == [("a", "SUCCESS"), ("b", "STARTED"), ("b", "SUCCESS"), ("c", "SUCCESS")]


def test_a_change_waits_for_a_redis_that_is_full_and_not_after_another_error(failing, publisher):
    failing.reachable.clear()
    for passing in (
        OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        ReadOnlyError("You can't write against a read only replica."),
        ResponseError("MISCONF Redis is configured to save RDB snapshots"),
        WatchError("task 'full' had another owner at each of 5 repeats"),
    ):
        failing.error = passing
        assert not publisher.publish(change("full"))
        assert publisher.queue_size() == 1
        failing.reachable.set()
        assert publisher.flush(5)
        failing.reachable.clear()
    failing.error = ResponseError("ERR wrong number of arguments")
    assert not publisher.publish(change("nonsense"))
    assert (publisher.queue_size(), publisher.counters.failed) == (0, 1)


def test_an_error_of_the_service_does_not_reach_the_task(failing, publisher, caplog):
    failing.reachable.clear()
    failing.error = KeyError("a bug")
    with caplog.at_level(logging.WARNING, "realtime.publisher"):
        for _ in range(3):
            assert not publisher.publish(change())
    assert publisher.counters.failed == 3
    assert len(caplog.records) == 1  # once a minute


def test_an_id_that_no_topic_can_name_is_not_published(store, publisher):
    assert not publisher.publish(change("a\nb"))
    assert not publisher.publish(change("x" * 256))
    assert (store.accepted, publisher.counters.failed) == ([], 2)
    assert publisher.publish(change("x" * 255))


def test_the_tasks_own_time_limit_reaches_the_task(failing, publisher):
    failing.interrupt = SoftTimeLimitExceeded()
    with pytest.raises(SoftTimeLimitExceeded):
        publisher.publish(change())
    assert publisher.flush(5)
    assert failing.accepted == [("t", "STARTED", None)]


def test_a_forked_child_sends_no_change_of_its_parent(failing, publisher):
    failing.reachable.clear()
    publisher.publish(change())
    failing.reachable.set()
    assert publisher.flush(5)
    failing.replies_late = True
    publisher.send(change("unanswered"))
    failing.reachable.clear()
    with publisher._calls.paused():  # the child must not wait for this lock
        publisher._enqueue([SentChange(change("waiting"))])
        child = os.fork()
        if child == 0:
            failing.accepted.clear()
            failing.reachable.set()
            publisher.send(change("of-the-child"))
            publisher.read_replies()
            os._exit(0 if failing.accepted == [("of-the-child", "STARTED", None)] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert publisher.queue_size() == 1


@pytest.fixture
def silent_server():
    """A server that accepts every connection and replies nothing, as a stopped Redis does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"redis://127.0.0.1:{server.getsockname()[1]}/0"


#: A busy machine may delay some attempts; a fault of the service delays all of them.
ATTEMPTS = 5


def seconds_of(publish, start):
    """Return the seconds that a hundred changes take."""
    began = time.perf_counter()
    for number in range(start, start + 100):
        publish(change(f"t{number}"))
    return time.perf_counter() - began


def seconds_waited(publish):
    """Return the seconds that the first of two hundred changes waits for Redis.

    The second hundred does not wait: it measures the machine's part in the first one.
    """
    first, second = (seconds_of(publish, start) for start in (0, 100))
    return first - 10 * second


@pytest.mark.parametrize("kind", ["silent", "closed_port"])
def test_an_absent_redis_delays_a_task_once_and_by_at_most_300_ms(kind, silent_server, monkeypatch):
    url = silent_server if kind == "silent" else closed_port()
    with override_settings(REALTIME={"REDIS_URL": url}):
        store = RedisStore()
        monkeypatch.setattr(module, "get_store", lambda: store)
        waited = []
        for _ in range(ATTEMPTS):
            publisher = Publisher()
            waited.append(seconds_waited(publisher.publish))
            assert until(lambda publisher=publisher: publisher.queue_size() == 200)
            publisher.reset()  # lets the thread end
        assert min(waited) < 0.3


def test_a_redis_that_stops_between_two_changes_delays_a_task_by_at_most_300_ms(
    clean_redis, monkeypatch
):
    with (
        override_settings(REALTIME={"REDIS_URL": clean_redis}),
        redis.Redis.from_url(clean_redis) as client,
    ):
        store = RedisStore()
        monkeypatch.setattr(module, "get_store", lambda: store)
        waited = []
        for _ in range(ATTEMPTS):
            publisher = Publisher()
            assert publisher.publish(change("before"))
            client.client_pause(60_000, all=False)  # writes wait
            waited.append(seconds_waited(publisher.send))
            assert until(lambda publisher=publisher: publisher.queue_size() == 200)
            client.client_unpause()
            assert publisher.flush(10)
        assert min(waited) < 0.3
        assert store.status("t0").version == 1
        assert store.status("t199").version == 1
