"""When the access of a connection is checked: after a message, and regularly without one."""

import asyncio
from types import SimpleNamespace

import pytest
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.signals import user_logged_out
from django.test import override_settings

from realtime.core.codes import CloseCode
from realtime.groups.layer import access_group, get_layer
from realtime.web.access import revocation
from realtime.web.access.identity import READ_AT, user_key
from realtime.web.access.revocation import AccessChecker
from realtime.web.access.rows import note_asked
from realtime.web.access.sessions import fingerprint
from realtime.web.access.signals import MESSAGE_TYPE
from realtime.web.registry import get_registry
from tests.client.protocol import DEADLINE

# Checks run in Django's thread for the database.
pytestmark = pytest.mark.django_db

LAYER = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
NO_REDIS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": ["redis://127.0.0.1:1/0"]},
    }
}


class User(SimpleNamespace):
    is_authenticated = True

    def __init__(self, pk):
        super().__init__(pk=pk)


def key(pk):
    return user_key(User(pk))


class Member:
    address = ""

    def __init__(self, owner, session="", has_rights=False):
        self.scope = {}
        self.owner, self.session, self.has_rights = owner, session, has_rights
        self.user, self.user_key, self.scope = User(owner), key(owner), {}
        self.calls = []
        self.called = asyncio.Event()

    async def user_checked(self, result):
        assert result == f"now {self.owner}"
        self.calls.append("check")
        self.called.set()

    def sign_out(self):
        self.calls.append("out")
        self.called.set()

    def expect_new_session_key(self):
        self.calls.append("other key")
        self.called.set()


def check_users(connections):
    return [
        OSError("no database") if user.pk == "broken" else f"now {user.pk}"
        for _, user in connections
    ]


@pytest.fixture(autouse=True)
def users(monkeypatch):
    """Replace the lookups in the database; return the rows, by user."""
    rows = {}
    monkeypatch.setattr(revocation, "check_users", check_users)
    monkeypatch.setattr(
        revocation, "find_row_hashes", lambda asked: [rows.get(user.pk) for _, user in asked]
    )
    return rows


@pytest.fixture
async def checker():
    with override_settings(CHANNEL_LAYERS=LAYER):
        checker = AccessChecker()
        yield checker
        await checker.close()


@pytest.fixture
async def members(checker):
    with override_settings(CHANNEL_LAYERS=LAYER):
        found = {
            "alice": Member("1", fingerprint("here")),
            "alice elsewhere": Member("1", fingerprint("elsewhere")),
            "bob": Member("2", fingerprint("bobs")),
            "staff": Member("3", fingerprint("staffs"), has_rights=True),
            "last": Member("last"),
        }
        for member in found.values():
            get_registry().join(member)
        await checker.start()
        yield found
        for member in found.values():
            get_registry().leave(member)


async def send(members, **message):
    """Send a message, and wait until a later message has arrived."""
    for each in (message, {"user": key("last"), "sessions": []}):
        await get_layer().group_send(access_group(), {"type": MESSAGE_TYPE, **each})
    async with asyncio.timeout(DEADLINE):
        await members["last"].called.wait()
    return {name: member.calls for name, member in members.items() if member.calls}


async def test_a_changed_user_is_checked_on_every_connection(members):
    calls = await send(members, user=key("1"), sessions=[])
    assert calls == {"alice": ["check"], "alice elsewhere": ["check"], "last": ["check"]}


async def test_a_session_with_a_new_key_has_not_ended(members):
    calls = await send(members, user=key("1"), sessions=[fingerprint("here")], renewed=True)
    assert calls == {"alice": ["other key"], "last": ["check"]}


async def test_the_end_of_a_session_closes_its_own_connections(members):
    calls = await send(members, user=key("1"), sessions=[fingerprint("other"), fingerprint("here")])
    assert calls == {"alice": ["out"], "last": ["check"]}


async def test_changed_rights_of_a_group_check_its_users_with_such_subscriptions(members):
    calls = await send(members, user="", sessions=[])
    assert calls == {"staff": ["check"], "last": ["check"]}


@pytest.mark.parametrize(
    "message", [{}, {"user": None, "sessions": []}, {"user": "1", "sessions": 5}]
)
async def test_a_malformed_message_ends_no_session(members, message):
    calls = await send(members, **message)
    assert set(calls) <= {"staff", "last"}


@pytest.mark.parametrize(
    ("message", "calls"),
    [
        ({"user": key("4")}, ["check"]),
        ({"user": ""}, ["check"]),
        ({"user": key("5")}, []),
        ({"user": key("4"), "sessions": [fingerprint("late")]}, ["out"]),
        ({"user": key("4"), "sessions": [fingerprint("other")]}, []),
        ({"user": key("4"), "sessions": [fingerprint("late")], "renewed": True}, ["other key"]),
    ],
)
@pytest.mark.parametrize("began", ["before", "after"])
async def test_a_message_that_comes_during_a_handshake_is_used_as_the_connection_joins(
    members, checker, message, calls, began
):
    """The connection's user was read before the message, and it joins the registry afterwards."""
    loop = asyncio.get_running_loop()
    late = Member("4", fingerprint("late"))
    late.scope = {READ_AT: loop.time()}
    await send(members, **{"sessions": [], **message})
    if began == "after":
        late.scope = {READ_AT: loop.time()}
    get_registry().join(late)
    members["late"] = late
    checker.joined(late)
    members["last"].called.clear()
    await send(members, user=key("1"), sessions=[])
    assert late.calls == (calls if began == "before" else [])


async def test_a_connection_whose_handshake_began_before_messages_were_received_is_checked(checker):
    loop = asyncio.get_running_loop()
    first, later = Member("4"), Member("4")
    first.scope = {READ_AT: loop.time()}
    await checker.start()
    later.scope = {READ_AT: loop.time()}
    for member in (later, first):
        get_registry().join(member)
        checker.joined(member)
    async with asyncio.timeout(DEADLINE):
        await first.called.wait()
    assert later.calls == []
    for member in (later, first):
        get_registry().leave(member)


@pytest.fixture
def joined(checker, monkeypatch):
    """The groups that a slow layer has joined; a handshake waits for it as long as necessary."""
    layer, joined = get_layer(), []
    group_add = layer.group_add

    async def slow_group_add(group, channel):
        await asyncio.sleep(0.05)
        await group_add(group, channel)
        joined.append(group)

    monkeypatch.setattr(layer, "group_add", slow_group_add)
    monkeypatch.setattr(revocation, "_JOIN_TIMEOUT", DEADLINE)
    return joined


async def test_the_first_handshake_waits_until_messages_are_received(checker, joined):
    await checker.start()
    assert joined == [access_group()]


async def test_after_a_close_the_next_handshake_waits_again(checker, joined):
    await checker.start()
    await checker.close()
    assert not checker._tasks
    joined.clear()
    await checker.start()
    assert joined == [access_group()]


async def test_a_handshake_does_not_wait_for_a_layer_that_is_away(monkeypatch):
    with override_settings(CHANNEL_LAYERS=NO_REDIS):
        checker = AccessChecker()
        async with asyncio.timeout(DEADLINE):
            await checker.start()
        await checker.close()


async def test_a_member_that_left_is_forgotten(members):
    registry, checker = get_registry(), AccessChecker()
    member = Member("4")
    registry.leave(member)  # never joined
    registry.join(member)
    await checker.start()
    registry.leave(member)
    assert (registry.of_user(member.user_key), member in registry) == ((), False)
    assert member not in registry.signed_in()
    await checker.close()


async def test_all_members_are_checked_equally_often_though_one_check_fails(caplog):
    often = {**settings.REALTIME, "ACCESS_INTERVAL": 0.5}
    with override_settings(CHANNEL_LAYERS=LAYER, REALTIME=often):
        checker = AccessChecker()
        members = [Member(str(number)) for number in range(47)]
        broken = Member("broken")
        for member in (*members, broken):
            get_registry().join(member)
        await checker.start()
        for _ in range(2):
            async with asyncio.timeout(DEADLINE):
                await asyncio.gather(*(member.called.wait() for member in members))
            for member in members:
                member.called.clear()
        counts = [len(member.calls) for member in members]
        assert max(counts) - min(counts) <= 1
        assert broken.calls == []
        assert "access_check_failed user=User:broken" in caplog.text
        left = members.pop()
        get_registry().leave(left)
        before = len(left.calls)
        await asyncio.gather(*(member.called.wait() for member in members))
        assert len(left.calls) == before
        await checker.close()


async def test_only_changed_rows_withdrawable_rights_and_users_asked_about_are_looked_up(
    users, monkeypatch
):
    often = {**settings.REALTIME, "ACCESS_INTERVAL": 0.2}
    with override_settings(CHANNEL_LAYERS=LAYER, REALTIME=often):
        checker, registry = AccessChecker(), get_registry()
        still, changing, asked = (Member(name) for name in ("still", "changing", "asked"))
        members = [still, changing, asked, Member("staff", has_rights=True), Member("no rows")]
        users |= {member.owner: b"as at the handshake" for member in members[:-1]}
        for member in members:
            member.scope = {"realtime.row_hash": users.get(member.owner)}
            registry.join(member)
            checker.joined(member)
        note_asked(asked.user)
        users["changing"] = b"changed"
        await checker.start()
        for _ in range(3):
            for member in members[-2:]:
                member.called.clear()
                async with asyncio.timeout(5):
                    await member.called.wait()
        await checker.close()
        for member in members:
            registry.leave(member)
    assert (still.calls, still.scope) == ([], {})
    assert changing.calls == ["check"], "once"
    # The fake lookup does not replace the user, so that this one stays noted.
    assert len(asked.calls) >= 2


async def test_a_lookup_that_failed_is_repeated_though_the_rows_stay_the_same(users, monkeypatch):
    often = {**settings.REALTIME, "ACCESS_INTERVAL": 0.2}
    failures = [OSError("no database"), OSError("no database")]

    def check(asked):
        return [failures.pop() if failures else "now 1" for _ in asked]

    monkeypatch.setattr(revocation, "check_users", check)
    with override_settings(CHANNEL_LAYERS=LAYER, REALTIME=often):
        checker, member = AccessChecker(), Member("1")
        users["1"] = b"rows"
        get_registry().join(member)
        await checker.start()
        async with asyncio.timeout(5):
            await member.called.wait()
        await checker.close()
        get_registry().leave(member)
    assert (failures, member.calls) == ([], ["check"])


def test_a_sign_out_succeeds_though_the_message_cannot_be_sent(caplog):
    class User:
        pk, is_authenticated = 7, True

    with override_settings(CHANNEL_LAYERS=NO_REDIS):
        user_logged_out.send(sender=User, request=None, user=User())
    assert "access_message_failed" in caplog.text


@pytest.mark.parametrize("user", [None, AnonymousUser()])
def test_no_message_is_sent_for_a_visitor_who_signs_out(user, caplog):
    with override_settings(CHANNEL_LAYERS=NO_REDIS):
        user_logged_out.send(sender=type(user), request=None, user=user)
    assert caplog.text == ""


async def test_a_slow_member_delays_no_other_and_still_receives_its_end(members, monkeypatch):
    slow, found = members["staff"], []
    ended, never = asyncio.Event(), asyncio.Event()

    async def user_checked(what):
        found.append(what)
        if what is CloseCode.SIGNED_OUT:
            ended.set()
        else:
            await never.wait()

    slow.user_checked = user_checked
    for _ in range(3):
        members["last"].called.clear()
        calls = await send(members, user=key("3"), sessions=[])
        assert "last" in calls
    assert found == ["now 3"], "the first check has not returned"
    monkeypatch.setattr(
        revocation, "check_users", lambda connections: [CloseCode.SIGNED_OUT for _ in connections]
    )
    await get_layer().group_send(
        access_group(), {"type": MESSAGE_TYPE, "user": key("3"), "sessions": []}
    )
    async with asyncio.timeout(DEADLINE):
        await ended.wait()
