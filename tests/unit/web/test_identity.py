"""The users of handshakes: many in one lookup, each by Django's rules for a request."""

import asyncio

import pytest
from channels.auth import get_user
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from realtime.core.codes import CloseCode
from realtime.store.batching import MAX_REQUESTS
from realtime.web.access import identity
from realtime.web.access.identity import BY_SESSION, check_users, find_row_hashes, find_users
from realtime.web.access.rows import rows_decide, take_row_hash
from realtime.web.access.sessions import session_fingerprint, session_fingerprints

pytestmark = pytest.mark.django_db

ENGINES = [
    "django.contrib.sessions.backends.db",
    "django.contrib.sessions.backends.cached_db",
    "django.contrib.sessions.backends.cache",
    "django.contrib.sessions.backends.signed_cookies",
]


class Failing(ModelBackend):
    """A project's own backend, which fails for one user."""

    def get_user(self, user_id):
        if User.objects.get(pk=user_id).username == "broken":
            raise OSError("the directory is away")
        return super().get_user(user_id)


def session_of(name, backend="django.contrib.auth.backends.ModelBackend"):
    user, _ = User.objects.get_or_create(username=name)
    client = Client()
    client.force_login(user, backend=backend)
    return client.cookies["sessionid"].value


def scope_of(key):
    cookie = f"sessionid={key}".encode() if key else b""
    return {"type": "websocket", "headers": [(b"cookie", cookie)]}


def with_session(key):
    from importlib import import_module

    store = import_module(settings.SESSION_ENGINE).SessionStore
    return {"session": store(key), BY_SESSION: True}


def names(users):
    return [getattr(user, "username", user) for user in users]


@pytest.mark.parametrize("engine", ENGINES)
def test_each_handshake_gets_its_own_user(engine):
    with override_settings(SESSION_ENGINE=engine):
        keys = [session_of("alice"), None, session_of("bob"), "unknown", session_of("alice")]
        User.objects.create(username="gone", is_active=False)
        keys.append(session_of("gone"))
        users = find_users([with_session(key) for key in keys])
        assert names(users) == ["alice", "", "bob", "", "alice", ""]
        assert [user.is_authenticated for user in users] == [True, False, True, False, True, False]


def test_many_lookups_cost_two_queries():
    scopes = [with_session(session_of(f"user{number}")) for number in range(20)]
    with CaptureQueriesContext(connection) as queries:
        assert names(find_users(scopes)) == [f"user{number}" for number in range(20)]
    assert len(queries) == 2
    users = find_users(scopes)
    with CaptureQueriesContext(connection) as queries:
        assert names(check_users(list(zip(scopes, users, strict=True)))) == names(users)
    assert len(queries) == 2


def test_visitors_cost_no_query():
    with CaptureQueriesContext(connection) as queries:
        find_users([with_session(None)])
    assert len(queries) == 0


def test_a_session_under_an_older_password_has_no_user_and_is_not_deleted():
    key = session_of("alice")
    alice = User.objects.get(username="alice")
    alice.set_password("another")
    alice.save()
    assert names(find_users([with_session(key)])) == [""]
    assert check_users([(with_session(key), alice)]) == [CloseCode.SIGNED_OUT]
    assert Session.objects.filter(session_key=key).exists()


def test_a_session_is_valid_while_its_key_is_a_fallback():
    with override_settings(SECRET_KEY="old" * 20):
        key = session_of("alice")
    with override_settings(SECRET_KEY="new" * 20, SECRET_KEY_FALLBACKS=["old" * 20]):
        assert names(find_users([with_session(key)])) == ["alice"]
    with override_settings(SECRET_KEY="new" * 20):
        assert names(find_users([with_session(key)])) == [""]
    assert Session.objects.filter(session_key=key).exists()


def test_a_failed_lookup_does_not_affect_the_others():
    backend = f"{__name__}.Failing"
    with override_settings(AUTHENTICATION_BACKENDS=[backend]):
        scopes = [with_session(session_of(name, backend)) for name in ("alice", "broken", "bob")]
        alice, error, bob = find_users(scopes)
        assert names([alice, bob]) == ["alice", "bob"]
        assert isinstance(error, OSError)
        checked = check_users([(scope, alice) for scope in scopes])
        assert names(checked[:1]) == ["alice"]
        assert isinstance(checked[1], OSError)
        assert checked[2] == CloseCode.SIGNED_OUT, "the session is another user's now"


def test_a_session_with_a_broken_user_does_not_affect_the_others():
    broken = session_of("bob")
    session = with_session(broken)["session"]
    session[SESSION_KEY] = "not a number"
    session.save()
    error, alice = find_users([with_session(broken), with_session(session_of("alice"))])
    assert isinstance(error, ValidationError)
    assert alice.username == "alice"


def test_a_session_of_a_removed_backend_has_no_user():
    key = session_of("alice")
    with override_settings(AUTHENTICATION_BACKENDS=[f"{__name__}.Failing"]):
        assert names(find_users([with_session(key)])) == [""]


def test_an_expired_session_is_distinguished_from_an_ended_one():
    expired, ended = session_of("alice"), session_of("alice")
    alice = User.objects.get(username="alice")
    Session.objects.filter(session_key=expired).update(expire_date=timezone.now())
    Session.objects.filter(session_key=ended).delete()
    checked = check_users([(with_session(key), alice) for key in (expired, ended)])
    assert checked == [CloseCode.SESSION_EXPIRED, CloseCode.SIGNED_OUT]


def test_a_user_without_a_session_is_checked_by_primary_key():
    alice = User.objects.create(username="alice")
    assert check_users([({}, alice)]) == [alice]
    User.objects.update(is_active=False)
    visitor = SessionStore()  # the visitor's session does not count
    assert check_users([({"session": visitor}, alice)]) == [CloseCode.SIGNED_OUT]


def test_a_session_that_channels_middleware_loaded_is_checked():
    key = session_of("alice")
    alice = User.objects.get(username="alice")
    scope = {"session": with_session(key)["session"]}
    assert get_user.func(scope) == alice
    assert check_users([(scope, alice)]) == [alice]
    Session.objects.all().delete()
    assert check_users([(scope, alice)]) == [CloseCode.SIGNED_OUT]


# The rows, as stored


class Careful(ModelBackend):
    """A project's own backend, which looks at more than the user's row."""

    def user_can_authenticate(self, user):
        return super().user_can_authenticate(user) and user.groups.exists()


def signed_in(name="alice"):
    """Return the scope of a handshake, and its user."""
    scope = with_session(session_of(name))
    return scope, find_users([scope])[0]


def change_password(user):
    User.objects.filter(pk=user.pk).update(password="another")


def change_session(user):
    row = Session.objects.get()
    row.session_data = SessionStore().encode(row.get_decoded() | {"basket": 1})
    row.save()


CHANGES = {
    "nothing": lambda user: None,
    "the password": change_password,
    "inactive": lambda user: User.objects.update(is_active=False),
    "staff": lambda user: User.objects.update(is_staff=True),
    "the session's data": change_session,
    "no session": lambda user: Session.objects.all().delete(),
    "an expired session": lambda user: Session.objects.update(expire_date=timezone.now()),
    "no user": lambda user: User.objects.all().delete(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_rows_of_a_handshake_are_those_of_the_next_check_unless_something_changed(what):
    scope, user = signed_in()
    row_hash = take_row_hash(scope)
    assert row_hash is not None
    CHANGES[what](user)
    assert (find_row_hashes([(scope, user)]) == [row_hash]) is (what == "nothing")


def test_the_rows_of_a_thousand_connections_cost_few_queries_and_no_decoding(monkeypatch):
    pairs = [signed_in(f"user{number}") for number in range(40)] * 25
    hashes = [take_row_hash(scope) for scope, _ in pairs[:40]] * 25
    monkeypatch.setattr(SessionStore, "decode", None)
    with CaptureQueriesContext(connection) as asked:
        assert find_row_hashes(pairs) == hashes
    assert len(asked) == 2


def test_more_rows_than_a_query_may_have_parameters_are_read_in_several(monkeypatch):
    pairs = [signed_in(f"user{number}") for number in range(12)]
    hashes = [take_row_hash(scope) for scope, _ in pairs]
    monkeypatch.setattr(type(connection.features), "max_query_params", 24)
    assert find_row_hashes(pairs) == hashes


def test_connections_of_one_user_have_hashes_of_their_own_sessions():
    pairs = [signed_in(), signed_in(), ({}, User.objects.get())]
    first, second, none = find_row_hashes(pairs)
    assert None not in (first, second)
    assert first != second
    assert none is None, "it was signed in by something else"


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_without_a_table_of_sessions_each_check_decodes_them(engine):
    with override_settings(SESSION_ENGINE=engine):
        scope, user = signed_in()
        assert take_row_hash(scope) is None
        assert find_row_hashes([(scope, user)]) == [None]


@pytest.mark.parametrize("backend", [Failing, Careful])
def test_where_a_backend_looks_at_more_each_check_asks_it(backend):
    with override_settings(AUTHENTICATION_BACKENDS=[f"{__name__}.{backend.__name__}"]):
        scope, user = with_session(session_of("alice")), User.objects.get()
        find_users([scope])
        assert take_row_hash(scope) is None
        assert find_row_hashes([(scope, user)]) == [None]


def owner_by_organisation(user):
    return user.organisation


def test_where_owner_may_look_at_more_each_check_loads_the_user():
    owner = f"{__name__}.{owner_by_organisation.__name__}"
    with override_settings(REALTIME={**settings.REALTIME, "OWNER": owner}):
        scope, user = signed_in()
        assert take_row_hash(scope) is None
        assert find_row_hashes([(scope, user)]) == [None]
    assert find_row_hashes([(scope, user)]) != [None]


@pytest.mark.parametrize("name", ["is_active", "is_authenticated"])
def test_where_a_property_of_the_user_decides_each_check_asks_it(monkeypatch, name):
    value = property(lambda _self: True, lambda _self, _value: None)
    monkeypatch.setattr(User, name, value)
    rows_decide.cache_clear()
    try:
        scope, user = signed_in()
        assert take_row_hash(scope) is None
        assert find_row_hashes([(scope, user)]) == [None]
    finally:
        rows_decide.cache_clear()


def test_rows_that_cannot_be_read_are_left_to_the_check(monkeypatch):
    pairs = [signed_in()]

    def away(*_args):
        raise OSError("no database")

    monkeypatch.setattr(identity, "read_row_hashes", away)
    assert find_row_hashes(pairs) == [None]


def test_the_fingerprint_of_a_session_survives_a_new_key():
    scope = with_session(session_of("alice"))
    find_users([scope])
    by_channels = {"session": with_session(scope["session"].session_key)["session"]}
    assert get_user.func(by_channels).username == "alice"
    name = session_fingerprint(scope)
    assert name == session_fingerprint(by_channels)
    session = by_channels["session"]
    assert name in session_fingerprints(session)
    session.cycle_key()
    assert name in session_fingerprints(session)


@pytest.mark.parametrize("key", ["session\0key", "session\x7fkey", "sessi\xf6nkey"])
async def test_a_session_key_that_a_database_would_refuse_has_no_user(monkeypatch, key):
    sessions = []

    def found(scopes):
        sessions.extend(scope["session"].session_key for scope in scopes)
        return ["nobody" for _ in scopes]

    async def inner(scope, receive, send):
        pass

    monkeypatch.setattr(identity, "find_users", found)
    scope = {"type": "websocket", "headers": [(b"cookie", f"sessionid={key}".encode("latin-1"))]}
    await identity.SessionUserMiddleware(inner)(scope, None, None)
    assert sessions == [None]


async def test_waiting_handshakes_share_a_lookup(monkeypatch):
    lookups = []

    def found(scopes):
        lookups.append(len(scopes))
        keys = [scope["session"].session_key for scope in scopes]
        return [OSError("broken") if key == "the broken one" else f"user of {key}" for key in keys]

    monkeypatch.setattr(identity, "find_users", found)
    users = {}

    async def inner(scope, receive, send):
        users[scope["session"].session_key] = scope["user"]

    application = identity.SessionUserMiddleware(inner)
    numbers = range(2 * MAX_REQUESTS)
    keys = [*(f"session{number}" for number in numbers), "the broken one", "who has left"]
    tasks = [asyncio.create_task(application(scope_of(key), None, None)) for key in keys]
    await asyncio.sleep(0)
    tasks[-1].cancel()
    async with asyncio.timeout(30):
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert users == {key: f"user of {key}" for key in keys[:-2]}
    assert isinstance(answers[-2], OSError)
    assert isinstance(answers[-1], asyncio.CancelledError)
    assert max(lookups) == MAX_REQUESTS
    assert len(lookups) <= 4


async def test_each_handshake_raises_the_error_of_an_absent_database(monkeypatch):
    def away(_scopes):
        raise OSError("no database")

    monkeypatch.setattr(identity, "find_users", away)
    users = []

    async def inner(scope, receive, send):
        users.append(scope["user"])

    application = identity.SessionUserMiddleware(inner)
    answers = await asyncio.gather(
        *(application(scope_of("session"), None, None) for _ in range(3)), return_exceptions=True
    )
    assert [str(answer) for answer in answers] == ["no database"] * 3
    monkeypatch.setattr(identity, "find_users", lambda scopes: ["somebody" for _ in scopes])
    await application(scope_of("session"), None, None)
    assert users == ["somebody"]
