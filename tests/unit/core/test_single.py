"""An object that a process makes once."""

import threading
from concurrent.futures import ThreadPoolExecutor

from realtime.core.single import Single


def test_threads_that_call_it_first_together_get_one_object():
    both_make = threading.Barrier(2, timeout=30)

    def make():
        both_make.wait()
        return object()

    single = Single(make)
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _number: single.get(), range(2))
    assert first is second is single.get()


def test_another_object_is_made_after_it_was_forgotten():
    single = Single(object)
    first = single.get()
    assert single.forget() is first
    assert single.forget() is None
    assert single.get() is not first
