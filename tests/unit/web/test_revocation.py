"""How a connection is looked at again: when something was heard of, and all the same if not."""

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
from realtime.web.access.identity import user_key
from realtime.web.access.revocation import AccessChecker
from realtime.web.access.sessions import fingerprint
from realtime.web.access.signals import MESSAGE_TYPE
from realtime.web.registry import get_registry

# Looks go through Django's thread for the database, whatever they ask there.
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
    scope, address = None, ""

    def __init__(self, owner, session="", has_rights=False):
        self.owner, self.session, self.has_rights = owner, session, has_rights
        self.user, self.user_key = User(owner), key(owner)
        self.heard = []
        self.told = asyncio.Event()

    async def user_checked(self, result):
        assert result == f"now {self.owner}"
        self.heard.append("check")
        self.told.set()

    def sign_out(self):
        self.heard.append("out")
        self.told.set()

    def expect_new_session_key(self):
        self.heard.append("other key")
        self.told.set()


def check_users(asked):
    return [
        OSError("no database") if user.pk == "broken" else f"now {user.pk}" for _, user in asked
    ]


@pytest.fixture(autouse=True)
def users(monkeypatch):
    """What the database knows of each user."""
    monkeypatch.setattr(revocation, "check_users", check_users)


@pytest.fixture
async def members():
    with override_settings(CHANNEL_LAYERS=LAYER):
        checker = AccessChecker()
        found = {
            "alice": Member("1", fingerprint("here")),
            "alice elsewhere": Member("1", fingerprint("elsewhere")),
            "bob": Member("2", fingerprint("bobs")),
            "staff": Member("3", fingerprint("staffs"), has_rights=True),
            "last": Member("last"),
        }
        for member in found.values():
            get_registry().join(member)
        checker.start()
        await asyncio.sleep(0)  # the listener joins its group
        yield found
        for member in found.values():
            get_registry().leave(member)
        await checker.close()


async def tell(members, **message):
    """Send a message, and wait until one that came after it was heard."""
    for each in (message, {"user": key("last"), "sessions": []}):
        await get_layer().group_send(access_group(), {"type": MESSAGE_TYPE, **each})
    async with asyncio.timeout(5):
        await members["last"].told.wait()
    return {name: member.heard for name, member in members.items() if member.heard}


async def test_a_changed_user_is_looked_at_on_every_connection(members):
    heard = await tell(members, user=key("1"), sessions=[])
    assert heard == {"alice": ["check"], "alice elsewhere": ["check"], "last": ["check"]}


async def test_a_session_with_another_key_is_no_session_that_ended(members):
    heard = await tell(members, user=key("1"), sessions=[fingerprint("here")], renewed=True)
    assert heard == {"alice": ["other key"], "last": ["check"]}


async def test_a_session_that_ended_closes_its_own_connections(members):
    heard = await tell(members, user=key("1"), sessions=[fingerprint("other"), fingerprint("here")])
    assert heard == {"alice": ["out"], "last": ["check"]}


async def test_changed_rights_of_a_group_concern_those_who_see_more_than_their_own(members):
    heard = await tell(members, user="", sessions=[])
    assert heard == {"staff": ["check"], "last": ["check"]}


@pytest.mark.parametrize(
    "message", [{}, {"user": None, "sessions": []}, {"user": "1", "sessions": 5}]
)
async def test_a_message_that_is_none_disturbs_nobody(members, message):
    heard = await tell(members, **message)
    assert set(heard) <= {"staff", "last"}


async def test_who_has_left_hears_nothing(members):
    registry, checker = get_registry(), AccessChecker()
    member = Member("4")
    registry.leave(member)  # never joined
    registry.join(member)
    checker.start()
    registry.leave(member)
    assert (registry.of_user(member.user_key), member in registry) == ((), False)
    assert member not in registry.signed_in()
    await checker.close()


async def test_everybody_is_looked_at_again_in_time_though_one_cannot_be(caplog):
    often = {**settings.REALTIME, "ACCESS_INTERVAL": 0.5}
    with override_settings(CHANNEL_LAYERS=LAYER, REALTIME=often):
        checker = AccessChecker()
        members = [Member(str(number)) for number in range(47)]
        broken = Member("broken")
        for member in (*members, broken):
            get_registry().join(member)
        checker.start()
        for _ in range(2):
            async with asyncio.timeout(2):
                await asyncio.gather(*(member.told.wait() for member in members))
            for member in members:
                member.told.clear()
        counts = [len(member.heard) for member in members]
        assert max(counts) - min(counts) <= 1
        assert broken.heard == []
        assert "access_check_failed user=User:broken" in caplog.text
        left = members.pop()
        get_registry().leave(left)
        before = len(left.heard)
        await asyncio.gather(*(member.told.wait() for member in members))
        assert len(left.heard) == before
        await checker.close()


def test_signing_out_does_not_fail_where_nobody_can_be_told(caplog):
    class User:
        pk, is_authenticated = 7, True

    with override_settings(CHANNEL_LAYERS=NO_REDIS):
        user_logged_out.send(sender=User, request=None, user=User())
    assert "access_message_failed" in caplog.text


@pytest.mark.parametrize("user", [None, AnonymousUser()])
def test_nobody_is_told_of_a_visitor_who_signs_out(user, caplog):
    with override_settings(CHANNEL_LAYERS=NO_REDIS):
        user_logged_out.send(sender=type(user), request=None, user=user)
    assert caplog.text == ""


async def test_a_member_that_takes_long_to_judge_is_waited_for_by_nobody_but_told_of_its_end(
    members, monkeypatch
):
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
        members["last"].told.clear()
        heard = await tell(members, user=key("3"), sessions=[])
        assert "last" in heard
    assert found == ["now 3"], "it still judges that"
    monkeypatch.setattr(
        revocation, "check_users", lambda asked: [CloseCode.SIGNED_OUT for _ in asked]
    )
    await get_layer().group_send(
        access_group(), {"type": MESSAGE_TYPE, "user": key("3"), "sessions": []}
    )
    async with asyncio.timeout(5):
        await ended.wait()
