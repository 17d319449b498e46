"""The codes, and whether a client may reconnect after each."""

import pytest

from realtime.core.codes import CloseCode, ErrorCode


def test_the_close_codes_are_those_of_the_protocol():
    assert sorted(CloseCode) == [1011, 1012, 1013, 4000, 4001, 4002, 4500, 4501, 4503, 4509]


@pytest.mark.parametrize("code", CloseCode)
def test_the_range_of_a_close_code_decides_whether_a_client_reconnects(code):
    assert code.reconnect == (code in (1001, 1006, 1011, 1012, 1013) or 4000 <= code <= 4499)


def test_the_error_codes_are_those_of_the_protocol():
    assert set(ErrorCode) == {
        "bad_request",
        "not_found",
        "unauthorized",
        "forbidden",
        "limit",
        "too_large",
        "internal",
    }
