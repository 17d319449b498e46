"""A wall clock that is wrong by CLOCK_OFFSET seconds, for a Python process that has this folder
on its PYTHONPATH.

What measures durations (`time.monotonic`) stays right, as it does on a machine whose clock is
wrong.
"""

import datetime
import os
import time

_offset = float(os.environ["CLOCK_OFFSET"])
_time = time.time
_Real = datetime.datetime


class _Looks(type):
    """What the real class makes are instances of the wrong one too."""

    def __instancecheck__(cls, instance):
        return isinstance(instance, _Real)

    def __subclasscheck__(cls, subclass):
        return issubclass(subclass, _Real)


class _Wrong(_Real, metaclass=_Looks):
    def __new__(cls, *args, **kwargs):
        return _Real(*args, **kwargs)

    @classmethod
    def now(cls, tz=None):
        return _Real.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls):
        return _Real.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls):
        return _Real.fromtimestamp(time.time())


# Instances say that their class is `datetime.datetime`, and pickle looks it up.
_Wrong.__name__ = _Wrong.__qualname__ = "datetime"
_Wrong.__module__ = "datetime"

time.time = lambda: _time() + _offset
time.time_ns = lambda: int(time.time() * 1e9)
datetime.datetime = _Wrong
