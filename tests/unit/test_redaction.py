"""Texts of a task, and the function that redacts them."""

import json

import pytest
from django.test import override_settings

from realtime.results import redaction
from realtime.results.redaction import encode_error, encode_progress, encode_result

strict = json.loads


class HostileError(Exception):
    def __str__(self):
        raise RuntimeError("canary")


def test_an_error_is_its_type_and_its_message():
    assert strict(encode_error(ValueError("no", 5))) == {
        "type": "ValueError",
        "message": "('no', 5)",
    }
    assert strict(encode_error(KeyboardInterrupt())) == {"type": "KeyboardInterrupt", "message": ""}
    assert strict(encode_error("only text")) == {"type": "Error", "message": "only text"}
    assert strict(encode_error(None)) == {"type": "Error", "message": "None"}
    assert strict(encode_error(HostileError())) == {
        "type": "HostileError",
        "message": "<unprintable HostileError>",
    }


def test_an_error_shows_neither_its_cause_nor_its_traceback():
    error = RuntimeError("shown")
    error.__cause__ = ValueError("canary")
    assert strict(encode_error(error)) == {"type": "RuntimeError", "message": "shown"}


def redact(kind, value):
    """Remove the canary; raise an error that contains the canary if the value has "poison"."""
    if "poison" in str(value):
        raise ValueError(f"canary: {value}")
    return f"{kind}:{value}".replace("canary", "…")


@pytest.fixture
def _redacting():
    with override_settings(REALTIME={"REDACT": f"{__name__}.redact"}):
        yield


@pytest.mark.usefixtures("_redacting")
def test_every_text_of_a_task_passes_through_the_function():
    assert strict(encode_error(ValueError("a canary"))) == {
        "type": "ValueError",
        "message": "error:a …",
    }
    assert strict(redaction.encode_error_text("Odd", "a canary"))["message"] == "error:a …"
    assert strict(encode_progress(1, 2, "a canary"))["message"] == "progress:a …"
    assert strict(encode_progress(1, 2))["message"] is None
    assert encode_result("a canary") == ('"result:a …"', False)


@pytest.mark.usefixtures("_redacting")
def test_if_the_function_fails_the_value_is_withheld_and_not_logged(caplog):
    assert strict(encode_error(ValueError("poison canary")))["message"] == "withheld"
    assert strict(encode_progress(1, 2, "poison canary"))["message"] == "withheld"
    assert encode_result("poison canary") == ("null", True)
    assert [record.message for record in caplog.records] == [
        "redact_failed kind=error error=ValueError",
        "redact_failed kind=progress error=ValueError",
        "redact_failed kind=result error=ValueError",
    ]


def test_a_function_that_cannot_be_imported_withholds_everything():
    with override_settings(REALTIME={"REDACT": "no.such.function"}):
        assert strict(encode_error(ValueError("canary")))["message"] == "withheld"
        assert encode_result({"a": "canary"}) == ("null", True)
