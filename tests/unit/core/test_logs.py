"""One event is one line, also with foreign text in it."""

import logging
import re
from pathlib import Path

import pytest

from realtime.core.logs import LineFormatter, escaped, get_logger

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain äöü 😀", "plain äöü 😀"),
        ("a\r\nb\tc\x00", "a\\r\\nb\\tc\\x00"),
        ("\x1b[31mred\x9b0m\x7f", "\\x1b[31mred\\x9b0m\\x7f"),
        ("a\u2028b\u2029c\u202ed", "a\\u2028b\\u2029c\\u202ed"),
        ("half \ud800 a pair", "half \\ud800 a pair"),
    ],
)
def test_unprintable_characters_are_escaped(text, line):
    assert escaped(text) == line


@pytest.mark.parametrize("letter", ["x", "ä", "😀", "\n", "\u2028", "\ud800"])
def test_a_megabyte_becomes_two_kibibytes(letter):
    line = escaped(letter * 1_000_000)
    assert 1900 < len(line.encode()) <= 2048
    assert line.isprintable()


class Odd:
    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __str__


@pytest.fixture
def logger():
    return get_logger("realtime.of-a-test")


def test_every_message_of_a_logger_is_one_line(logger, caplog):
    logger.warning("look_failed task=%s error=%r", "a\nWARNING forged", ValueError("b\nc"))
    logger.warning("odd task=%s", Odd())
    logger.warning("100 %")
    assert [record.getMessage() for record in caplog.records] == [
        "look_failed task=a\\nWARNING forged error=ValueError('b\\nc')",
        "odd task=%s",
        "100 %",
    ]


def test_a_handler_of_the_project_writes_one_line_for_each_record():
    formatter = LineFormatter("%(levelname)s %(message)s")
    text = "a\nWARNING forged" + "x" * 100_000
    record = logging.makeLogRecord({"levelname": "WARNING", "msg": "%s", "args": (text,)})
    line = formatter.format(record)
    assert line.startswith("WARNING a\\nWARNING forgedx")
    assert line.isprintable()
    assert len(line.encode()) <= 2048 + len("WARNING ")
    assert record.args == (text,), "other handlers get the record unchanged"
    try:
        raise ValueError("\x1b" + "x" * 100_000)
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    _, *traceback, last = formatter.format(record).split("\n")
    assert traceback[0] == "Traceback (most recent call last):"
    assert last.startswith("ValueError: \\x1bxxx")
    assert len(last.encode()) <= 2048


def test_an_exception_is_logged_in_the_same_line_with_its_lines_of_code(logger, caplog):
    def fail():
        secret = "canary"  # noqa: F841
        raise ValueError("first\nsecond")

    try:
        fail()
    except ValueError:
        logger.exception("frame_failed ref=%s", "1")
    (line,) = logging.Formatter("%(message)s").format(caplog.records[0]).splitlines()
    assert re.fullmatch(
        r"frame_failed ref=1 error=ValueError\('first\\nsecond'\)"
        r" at=test_logs\.py:\d+,test_logs\.py:\d+",
        line,
    )
    assert "canary" not in line


def test_a_logger_that_is_requested_twice_has_one_filter(logger):
    assert get_logger(logger.name) is logger
    assert len(logger.filters) == 1


def test_no_other_module_of_the_service_makes_loggers():
    sources = [p for p in (ROOT / "realtime").rglob("*.py") if p.name != "logs.py"]
    assert [p.name for p in sources if "getLogger" in p.read_text(encoding="utf-8")] == []
