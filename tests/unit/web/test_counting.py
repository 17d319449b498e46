"""The limits of frames, refusals and connections; a connection that left is not counted."""

import pytest
from django.test import override_settings

from realtime.web.access import limits
from realtime.web.access.addresses import client_address
from realtime.web.access.limits import Bucket, Window
from realtime.web.registry import Process, Registry


@pytest.fixture
def clock(monkeypatch):
    """A clock that changes only when `clock.now` is set."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(limits, "time", clock)
    return clock


def test_a_bucket_lets_a_burst_through_and_then_the_rate(clock):
    bucket = Bucket(rate=10, burst=50)
    assert [bucket.allow() for _ in range(51)] == [True] * 50 + [False]
    clock.now += 0.25
    assert [bucket.allow() for _ in range(3)] == [True, True, False]
    clock.now += 3600
    assert [bucket.allow() for _ in range(51)] == [True] * 50 + [False], "never more than the burst"


def test_a_window_counts_only_what_happened_within_its_seconds(clock):
    window = Window(3, 60)
    assert [window.add(), window.add()] == [False, False]
    clock.now += 60
    assert not window.add()
    clock.now += 1
    assert not window.add()
    assert window.add()


class Connection:
    def __init__(self, address, user_key):
        self.address, self.user_key = address, user_key


def enter(registry, connection):
    """Join as a session does; return why there is no room."""
    full = registry.refusal(connection)
    if not full:
        registry.join(connection)
    return full


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("MAX_CONNECTIONS", "no room for more connections"),
        ("MAX_CONNECTIONS_PER_USER", "at most 2 connections a user"),
        ("MAX_CONNECTIONS_PER_ADDRESS", "at most 2 connections an address"),
    ],
)
def test_there_is_room_again_when_a_connection_has_left(setting, reason):
    with override_settings(REALTIME={setting: 2}):
        registry = Registry(Process())
        first = Connection("192.0.2.1", "7")
        found = [enter(registry, first)]
        found += [enter(registry, Connection("192.0.2.1", "7")) for _ in range(2)]
        assert found == ["", "", reason]
        registry.leave(first)
        assert enter(registry, Connection("192.0.2.1", "7")) == ""


def test_a_process_is_full_after_its_last_connection():
    with override_settings(REALTIME={"MAX_CONNECTIONS": 1}):
        process = Process()
        registry, connection = Registry(process), Connection("198.51.100.1", "")
        assert not process.is_full
        registry.join(connection)
        assert process.is_full
        registry.leave(connection)
        assert not process.is_full


def test_visitors_are_not_one_user_and_missing_addresses_not_one_address():
    with override_settings(
        REALTIME={"MAX_CONNECTIONS_PER_USER": 1, "MAX_CONNECTIONS_PER_ADDRESS": 1}
    ):
        registry = Registry(Process())
        assert [enter(registry, Connection("", "")) for _ in range(3)] == ["", "", ""]


def test_event_loops_are_counted_together():
    with override_settings(REALTIME={"MAX_CONNECTIONS_PER_USER": 2}):
        process = Process()
        one, other = Registry(process), Registry(process)
        assert [enter(each, Connection("", "7")) for each in (one, other)] == ["", ""]
        assert (len(one), len(other)) == (1, 1)
        assert enter(other, Connection("", "7")) == "at most 2 connections a user"


def test_nothing_is_kept_of_connections_that_left():
    process = Process()
    registry = Registry(process)
    connections = [Connection(f"192.0.2.{number}", str(number)) for number in range(100)]
    for connection in connections:
        registry.join(connection)
    for connection in connections:
        registry.leave(connection)
        registry.leave(connection)  # has no effect
    assert (process.open, process._by_user, process._by_address) == (0, {}, {})
    assert (len(registry), registry._by_user, registry._signed_in) == (0, {}, {})


def scope(peer, *forwarded):
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return {"client": (peer, 1234) if peer is not None else None, "headers": headers}


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "address"),
    [
        (0, "192.0.2.1", [], "192.0.2.1"),
        (0, "192.0.2.1", ["203.0.113.9"], "192.0.2.1"),
        (0, None, [], ""),
        (0, "::ffff:192.0.2.1", [], "192.0.2.1"),
        (0, "2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::/64"),
        (1, "10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        (1, "10.0.0.1", ["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        (1, "10.0.0.1", ["6.6.6.6", "203.0.113.9"], "203.0.113.9"),
        (1, None, ["203.0.113.9"], "203.0.113.9"),
        (2, "10.0.0.1", ["6.6.6.6, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        (2, "10.0.0.1", ["203.0.113.9"], "10.0.0.1"),
        (1, "10.0.0.1", [], "10.0.0.1"),
        (1, "10.0.0.1", [""], "10.0.0.1"),
        (1, "10.0.0.1", ["[2001:db8::1]"], "2001:db8::/64"),
        (1, "10.0.0.1", ["x" * 1000], "x" * 64),
    ],
)
def test_the_address_is_the_peers_or_the_one_a_trusted_proxy_named(
    proxies, peer, forwarded, address
):
    with override_settings(REALTIME={"TRUSTED_PROXIES": proxies}):
        assert client_address(scope(peer, *forwarded)) == address
