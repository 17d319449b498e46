"""Calls that are made one at a time, without a lock that a thread blocks on."""

import os
import random
import signal
import threading
import time
from contextlib import contextmanager

import pytest
from billiard.exceptions import SoftTimeLimitExceeded

from realtime.worker.serialized_calls import SerializedCalls
from tests.until import until


def test_a_call_that_comes_during_another_one_is_made_after_it():
    calls, made = SerializedCalls(), []

    def outer():
        calls.call(made.append, "inner")
        made.append("outer")

    calls.call(outer)
    assert made == ["outer", "inner"]
    assert not calls


@contextmanager
def blocked(calls):
    """Let another thread make a call that ends with this block, and then the calls made in it."""
    begun, go_on = threading.Event(), threading.Event()

    def block():
        begun.set()
        assert go_on.wait(30)

    thread = threading.Thread(target=calls.call, args=(block,))
    thread.start()
    assert begun.wait(30)
    yield
    go_on.set()
    thread.join(30)


def test_no_thread_waits_for_the_one_that_makes_the_calls():
    calls, made = SerializedCalls(), []
    with blocked(calls):
        calls.call(made.append, 1)
        assert made == []
    assert made == [1]


@pytest.mark.parametrize("error", [SoftTimeLimitExceeded(), SystemExit()])
def test_a_call_that_a_time_limit_interrupts_is_made_again(error):
    calls, made = SerializedCalls(), []
    interrupts = [error]

    def interrupt():
        if interrupts:
            raise interrupts.pop()
        made.append(1)

    with pytest.raises(type(error)):
        calls.call(interrupt)
    assert calls
    calls.run()
    assert made == [1]


def test_after_a_call_that_fails_later_ones_are_made():
    calls, made = SerializedCalls(), []

    def fail():
        raise KeyError("a bug")

    calls.call(fail)
    calls.call(made.append, 1)
    assert made == [1]


def test_a_forked_process_neither_waits_for_calls_of_its_parent_nor_repeats_them():
    calls, made = SerializedCalls(), []

    def fork():
        child = os.fork()
        if child == 0:
            calls.call(made.append, 1)
            os._exit(0 if made == [1] else 1)
        return child

    children = []
    calls.call(lambda: children.append(fork()))
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
    assert made == []


def test_after_a_time_limit_at_any_instruction_later_calls_are_made():
    calls, made = SerializedCalls(), []
    armed = False

    def interrupt(*_):
        if armed:
            raise SoftTimeLimitExceeded

    def call_until_interrupted():
        # A function of its own: on Python 3.13 an exception of a signal handler can be raised at
        # the jump back of a loop, which is outside of a `try` around the loop.
        while armed:
            calls.call(int)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(2000):
            armed = True
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 60e-6))
                call_until_interrupted()
            except SoftTimeLimitExceeded:
                armed = False
            calls.call(made.append, number)
            assert made[-1] == number
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not calls


def test_a_thread_makes_the_calls_of_other_threads_for_a_limited_time():
    calls, makers = SerializedCalls(), []
    all_made = threading.Event()

    def feed(left):
        makers.append(threading.get_ident())
        time.sleep(0.001)  # so that together they take longer than the limit
        if left:
            calls.call(feed, left - 1)
        else:
            all_made.set()

    calls.call(feed, 200)
    assert not all_made.is_set()
    assert all_made.wait(30)
    assert set(makers) - {threading.get_ident()}


def test_threads_that_add_many_calls_make_them_too():
    calls, made = SerializedCalls(), []
    with blocked(calls):
        for number in range(70):
            calls.call(made.append, number)  # none of these waits for ever
    assert until(lambda: not calls)
    assert made == list(range(70))
