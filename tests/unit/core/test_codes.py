"""Codes, and the policy that their ranges carry."""

import pytest

from realtime.core.codes import CloseCode, ErrorCode


def test_close_codes_are_the_contracts():
    assert sorted(CloseCode) == [1011, 1012, 1013, 4000, 4001, 4002, 4500, 4501, 4503, 4509]


@pytest.mark.parametrize("code", CloseCode)
def test_a_close_code_asks_to_come_back_by_its_range(code):
    assert code.reconnect == (code in (1001, 1006, 1011, 1012, 1013) or 4000 <= code <= 4499)


def test_error_codes_are_the_contracts():
    assert set(ErrorCode) == {
        "bad_request",
        "not_found",
        "unauthorized",
        "forbidden",
        "limit",
        "too_large",
        "internal",
    }
