"""Any value of a task becomes strict JSON."""

import json
import math
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.core.jsontext import (
    MESSAGE_LENGTH,
    encode_progress,
    encode_result,
    encode_text,
    timestamp,
    timestamp_of,
)


class Level(IntEnum):
    HIGH = 3


@dataclass
class Plain:
    x: int = 1


class Hostile:
    """Raises an exception in each of its methods."""

    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __float__ = __iter__ = __len__ = __str__

    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = None


def containing_itself():
    value = []
    value.append(value)
    return value


def very_deep():
    value = 1
    for _ in range(100_000):
        value = [value]
    return value


def refuse(name):
    raise ValueError(name)


def strict(text):
    text.encode()
    return json.loads(text, parse_constant=refuse)


# Results


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (2**64, 2**64),
        ("ü\u2028\0", "ü\u2028\0"),
        ((1, 2), [1, 2]),
        ({1: "a", None: "b"}, {"1": "a", "null": "b"}),
        (Level.HIGH, 3),
        (OrderedDict(a=1), {"a": 1}),
        (namedtuple("Row", "x y")(1, 2), [1, 2]),
        (datetime(2026, 11, 22, 8, tzinfo=UTC), "2026-11-22T08:00:00+00:00"),
        (date(2026, 11, 22), "2026-11-22"),
        (time(8, 30), "08:30:00"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.10"), "1.10"),
        ({"ids": {3}}, {"ids": [3]}),
        (frozenset(["a"]), ["a"]),
        ([{"deep": {UUID(int=1)}}], [{"deep": ["00000000-0000-0000-0000-000000000001"]}]),
    ],
)
def test_a_result_becomes_its_nearest_json(value, expected):
    text, truncated = encode_result(value)
    assert strict(text) == expected
    assert not truncated


@pytest.mark.parametrize(
    "value",
    [
        math.nan, math.inf, -math.inf, [math.nan], {math.nan: 1}, b"bytes", [b"bytes"], "\ud800",
        {"\udfff": 1}, {(1, 2): 3}, object(), Plain(), Hostile(), [Hostile()], containing_itself(),
        very_deep(), 10**5000, {1, math.nan}, lambda: None, 1j, timedelta(1),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_result_that_json_cannot_express_is_left_out(value):
    assert encode_result(value) == ("null", True)


def test_a_result_is_measured_in_bytes():
    assert encode_result("x" * 8, limit=10) == ('"xxxxxxxx"', False)
    assert encode_result("x" * 9, limit=10) == ("null", True)
    assert encode_result("äääää", limit=10) == ("null", True)


@pytest.mark.parametrize(("depth", "left_out"), [(200, False), (201, True), (900, True)])
def test_a_result_in_a_status_has_at_most_200_levels(depth, left_out):
    deep = "[{"
    for level in range(depth - 1):
        deep = [deep, "]"] if level % 2 else {'"': deep}
    deep = [deep, [1]]
    assert encode_result(deep, limit=100_000)[1] is left_out
    assert encode_result(deep)[1] is False


@given(st.recursive(st.floats() | st.text() | st.binary() | st.none(), st.lists, max_leaves=5))
def test_every_result_is_strict_json(value):
    strict(encode_result(value)[0])


# Texts


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ("half \ud800 a pair", "half ? a pair"),
        (b"x", "b'x'"),
        (Hostile(), "<unprintable Hostile>"),
        ("x" * 501, "x" * MESSAGE_LENGTH),
        ("😀" * 501, "😀" * MESSAGE_LENGTH),
    ],
)
def test_any_value_becomes_a_text_of_limited_length(value, expected):
    assert strict(encode_text(value)) == expected


# Progress


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((1,), (1, None, None)),
        ((0, 10, "half"), (0, 10, "half")),
        ((1.5, 2), (1.5, 2, None)),
        ((Decimal("1.5"), Fraction(1, 4)), (1.5, 0.25, None)),
        ((True, 2), (1, 2, None)),
        ((1, math.inf), (1, None, None)),
        ((1, "many"), (1, None, None)),
        ((1, 2**53), (1, None, None)),
        ((1, Hostile()), (1, None, None)),
        ((1, Fraction(10**400)), (1, None, None)),
        ((1, None, ""), (1, None, None)),
        ((1, None, "\ud800"), (1, None, "?")),
        ((1, None, 7), (1, None, "7")),
        ((1, None, Hostile()), (1, None, "<unprintable Hostile>")),
    ],
)
def test_a_part_of_progress_that_is_no_number_is_null(given, expected):
    current, total, message = expected
    progress = {"current": current, "total": total, "message": message, "meta": None}
    assert strict(encode_progress(*given)) == progress


@pytest.mark.parametrize("current", [None, "some", math.nan, math.inf, 2**53, Hostile(), [1]])
def test_progress_without_a_number_keeps_its_message(current):
    known = {"current": None, "total": 10, "message": "x", "meta": None}
    assert strict(encode_progress(current, 10, "x")) == known
    assert encode_progress(current) == "null"


# Times


def test_a_time_is_in_utc_to_the_millisecond():
    moment = datetime(2026, 11, 22, 9, 0, 0, 123999, tzinfo=timezone(timedelta(hours=1)))
    assert timestamp(moment) == '"2026-11-22T08:00:00.123Z"'
    assert timestamp(datetime(2026, 11, 22)) == '"2026-11-22T00:00:00.000Z"'  # noqa: DTZ001


def test_the_current_time_is_the_default():
    before = datetime.now(UTC)
    now = datetime.fromisoformat(strict(timestamp()))
    assert before - timedelta(milliseconds=1) <= now <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T08:00:00.5+00:00", '"2026-11-22T08:00:00.500Z"'),
        ("2026-11-22T08:00:00-01:00", '"2026-11-22T09:00:00.000Z"'),
        ("2026-11-22T08:00:00", '"2026-11-22T08:00:00.000Z"'),
        (None, "null"),
        ("", "null"),
        ("tomorrow", "null"),
        (5, "null"),
        ("9999-12-31T23:59:59-12:00", "null"),
    ],
)
def test_an_eta_becomes_a_time_and_a_text_that_is_no_time_null(text, expected):
    assert timestamp_of(text) == expected


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        (1796000000.0, '"2026-11-30T00:53:20.000Z"'),
        (1796000000.9999, '"2026-11-30T00:53:20.999Z"'),
        (1796000001.25, '"2026-11-30T00:53:21.250Z"'),
        (1795999999.5, '"2026-11-30T00:53:19.500Z"'),
    ],
)
def test_the_current_time_is_written_as_any_other(monkeypatch, clock, expected):
    monkeypatch.setattr("realtime.core.jsontext.time.time", lambda: clock)
    assert timestamp() == expected
    moment = datetime.fromtimestamp(clock, UTC)
    assert timestamp(moment)[:-5] == expected[:-5]
