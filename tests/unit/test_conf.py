"""The setting REALTIME: defaults, and a message for every mistake."""

import pytest
from django.test import override_settings

from realtime.conf import conf
from realtime.exceptions import SettingsError


def mistake_in(settings):
    with override_settings(REALTIME=settings), pytest.raises(SettingsError) as error:
        conf()
    return error.value


def test_without_the_setting_all_keys_have_their_defaults():
    with override_settings(REALTIME={}):
        assert conf().RECORD_TTL == 86_400
        assert conf().MAX_RESULT_BYTES == 4096
        assert conf().MAX_SUBSCRIPTIONS == 128
        assert conf().MAX_FRAME_BYTES == 16_384


def test_a_value_replaces_the_default_and_is_read_when_used():
    with override_settings(
        REALTIME={"PING_INTERVAL": 10, "ALLOWED_ORIGINS": ["https://a.example"]}
    ):
        assert (conf().PING_INTERVAL, conf().RECORD_TTL) == (10, 86_400)
        assert conf().ALLOWED_ORIGINS == ["https://a.example"]
        with override_settings(REALTIME={"PING_INTERVAL": 11}):
            assert conf().PING_INTERVAL == 11
        assert conf().PING_INTERVAL == 10


def test_seconds_may_be_whole_numbers():
    with override_settings(REALTIME={"IDLE_TIMEOUT": 3}):
        assert conf().IDLE_TIMEOUT == 3


def test_an_unknown_key_is_reported_with_the_most_similar_one():
    error = mistake_in({"MAX_HISTORY_EVENT": 5})
    assert (
        str(error)
        == "REALTIME: unknown key 'MAX_HISTORY_EVENT'; did you mean 'MAX_HISTORY_EVENTS'?"
    )
    assert error.key == "MAX_HISTORY_EVENT"


def test_an_unknown_key_that_resembles_none_is_reported_with_all_keys():
    assert "allowed: REDIS_URL, STORE" in str(mistake_in({"zzz": 5}))
    assert "unknown key 5" in str(mistake_in({5: 5}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("REDIS_URL", 6379),
        ("REDIS_URL", None),
        ("MAX_HISTORY_EVENTS", "64"),
        ("MAX_HISTORY_EVENTS", 64.0),
        ("MAX_HISTORY_EVENTS", True),
        ("IDLE_TIMEOUT", "10"),
        ("IDLE_TIMEOUT", False),
        ("ALLOWED_ORIGINS", "https://a.example"),
        ("ALLOWED_ORIGINS", [5]),
    ],
)
def test_a_value_of_the_wrong_type_is_reported(key, value):
    error = mistake_in({key: value})
    assert str(error).startswith(f"REALTIME[{key!r}]: {value!r} is not ")
    assert error.key == key


@pytest.mark.parametrize(
    ("key", "value"), [("MAX_HISTORY_EVENTS", 0), ("TOKEN_AGE", -1), ("PING_INTERVAL", 0)]
)
def test_a_number_that_is_not_above_zero_is_reported(key, value):
    assert str(mistake_in({key: value})) == f"REALTIME[{key!r}]: {value} is not above 0"


@pytest.mark.parametrize("value", [None, [], "REDIS_URL"])
def test_a_setting_that_is_no_dict_is_reported(value):
    assert str(mistake_in(value)) == f"REALTIME: {value!r} is not a dict"


def test_a_prefix_cannot_contain_a_colon():
    with (
        override_settings(REALTIME={"PREFIX": "shop:task"}),
        pytest.raises(SettingsError) as raised,
    ):
        conf()
    assert "'shop:task' contains ':'" in str(raised.value)
