"""Which pages may connect, who may see which topic, and who may cancel which task."""

from types import SimpleNamespace

import pytest
from django.test import override_settings

from realtime.core.change import Change
from realtime.core.topics import Topic
from realtime.store import get_store
from realtime.web.access.origins import is_allowed_origin
from realtime.web.access.policy import Refused, authorise, authorise_cancel, grants_of
from realtime.web.access.tokens import make_token

# The Origin


def scope(origin, host="example.com", *, scheme="ws", **headers):
    given = [(b"host", host.encode())]
    if origin is not None:
        given.append((b"origin", origin.encode()))
    given += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"scheme": scheme, "headers": given}


@pytest.fixture(autouse=True)
def _hosts():
    with override_settings(
        ALLOWED_HOSTS=["example.com", ".example.org", "[::1]"],
        CSRF_TRUSTED_ORIGINS=["https://trusted.example", "https://*.wide.example:8443"],
        REALTIME={
            "ALLOWED_ORIGINS": ["https://app.example", "capacitor://localhost"],
            "STORE": "realtime.store.memory.MemoryStore",
        },
        CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    ):
        yield


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        ("http://example.com", "example.com", "ws"),
        ("http://example.com", "EXAMPLE.com:80", "ws"),
        ("http://example.com:8000", "example.com:8000", "ws"),
        ("https://example.com", "example.com", "wss"),
        ("https://example.com", "example.com:443", "wss"),
        ("http://a.example.org", "a.example.org", "ws"),
        ("http://[::1]:8000", "[::1]:8000", "ws"),
        ("https://trusted.example", "example.com", "ws"),
        ("https://a.b.wide.example:8443", "example.com", "ws"),
        ("https://app.example", "example.com", "ws"),
        ("capacitor://localhost", "example.com", "ws"),
    ],
)
def test_the_sites_own_page_and_listed_pages_may_connect(origin, host, scheme):
    assert is_allowed_origin(scope(origin, host, scheme=scheme))


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        (None, "example.com", "ws"),
        ("", "example.com", "ws"),
        ("null", "example.com", "ws"),
        ("*", "example.com", "ws"),
        ("http://", "example.com", "ws"),
        ("example.com", "example.com", "ws"),
        ("http://evil.example", "example.com", "ws"),
        ("https://example.com", "example.com", "ws"),
        ("http://example.com", "example.com", "wss"),
        ("ws://example.com", "example.com", "ws"),
        ("http://example.com:8000", "example.com", "ws"),
        ("http://example.com", "example.com:8000", "ws"),
        ("http://example.com:99999", "example.com", "ws"),
        ("http://example.com.", "example.com", "ws"),
        ("http://example.com/", "example.com", "ws"),
        ("http://example.com?", "example.com", "ws"),
        ("http://user@example.com", "example.com", "ws"),
        ("http://example.com@evil.example", "example.com", "ws"),
        ("http://example.com.evil.example", "example.com", "ws"),
        ("http://xexample.com", "example.com", "ws"),
        ("http://[::1", "example.com", "ws"),
        ("http://ex\u00e4mple.com", "example.com", "ws"),
        # Page and host are equal, but the site does not serve that host.
        ("http://evil.example", "evil.example", "ws"),
        ("http://evil.example", "", "ws"),
        # A listed origin is allowed only exactly as it is listed.
        ("http://trusted.example", "example.com", "ws"),
        ("https://trusted.example:8443", "example.com", "ws"),
        ("https://a.trusted.example", "example.com", "ws"),
        ("https://a.wide.example", "example.com", "ws"),
        ("https://evilwide.example:8443", "example.com", "ws"),
        ("https://app.example.evil.example", "example.com", "ws"),
    ],
)
def test_any_other_page_may_not_connect(origin, host, scheme):
    assert not is_allowed_origin(scope(origin, host, scheme=scheme))


def test_a_handshake_with_two_origins_or_two_hosts_is_refused():
    twice = scope("http://example.com")
    twice["headers"].append((b"origin", b"http://example.com"))
    assert not is_allowed_origin(twice)
    twice = scope("http://example.com")
    twice["headers"].append((b"host", b"example.com"))
    assert not is_allowed_origin(twice)


def test_any_host_is_allowed_where_allowed_hosts_has_a_star():
    with override_settings(ALLOWED_HOSTS=["*"]):
        assert is_allowed_origin(scope("http://anything.example", "anything.example"))
        assert not is_allowed_origin(scope("http://anything.example", "example.com"))


def test_the_scheme_of_a_proxy_counts_only_in_the_configured_header():
    page = scope("https://example.com", x_forwarded_proto="https")
    assert not is_allowed_origin(page)
    with override_settings(SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")):
        assert is_allowed_origin(page)
        assert not is_allowed_origin(scope("https://example.com", x_forwarded_proto="http"))


def test_a_handshake_like_one_that_was_allowed_is_decided_anew_where_it_differs():
    page, cookie = scope("https://example.com", x_forwarded_proto="https"), (b"cookie", b"a=b")
    with override_settings(SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")):
        assert is_allowed_origin(page)
        assert is_allowed_origin({**page, "headers": [*page["headers"], cookie]})
        assert not is_allowed_origin(scope("https://example.com"))
        assert not is_allowed_origin(scope("https://example.com", "b.example.com"))
        assert not is_allowed_origin({**page, "headers": [*page["headers"], page["headers"][0]]})
    assert not is_allowed_origin(page)


# Topics

#: Before it checks rights the service closes old connections to the database.
USES_DATABASE = pytest.mark.django_db(transaction=True)


class User(SimpleNamespace):
    is_authenticated = True

    def has_perm(self, name):
        return name in self.rights


def user(key=7, *, staff=False, rights=()):
    return User(pk=key, is_staff=staff, rights=rights)


ANONYMOUS = SimpleNamespace(pk=None, is_authenticated=False)
VIEW, CANCEL = "realtime.view_task", "realtime.cancel_task"
AUDITOR = user(90, staff=True, rights=[VIEW])
BOSS = user(91, staff=True, rights=[VIEW, CANCEL])
#: The permission has no effect without being staff.
PRETENDER = user(92, rights=[VIEW, CANCEL])


@pytest.fixture
async def _tasks():
    for task_id, owner in (("hers", "7"), ("nobodys", "")):
        get_store().accept(Change(task_id=task_id, state="STARTED", owner=owner))


async def code_of(awaitable):
    try:
        await awaitable
    except Refused as refused:
        return str(refused.code)
    return "allowed"


@pytest.mark.usefixtures("_tasks")
@USES_DATABASE
@pytest.mark.parametrize(
    ("topic", "who", "expected"),
    [
        ("task:hers", user(), "allowed"),
        ("task:hers", user(8), "not_found"),
        ("task:hers", user(8, staff=True), "not_found"),
        ("task:hers", AUDITOR, "allowed"),
        ("task:hers", PRETENDER, "not_found"),
        ("task:hers", ANONYMOUS, "not_found"),
        ("task:hers", None, "not_found"),
        ("task:nobodys", user(), "not_found"),
        ("task:nobodys", ANONYMOUS, "not_found"),
        ("task:nobodys", AUDITOR, "allowed"),
        ("task:unknown", user(), "not_found"),
        ("task:unknown", AUDITOR, "not_found"),
        ("user:me", user(), "allowed"),
        ("user:7", user(), "allowed"),
        ("user:7", user(8), "not_found"),
        ("user:7", AUDITOR, "allowed"),
        ("user:me", ANONYMOUS, "unauthorized"),
        ("user:me", None, "unauthorized"),
        ("user:7", ANONYMOUS, "unauthorized"),
    ],
)
async def test_who_may_see_which_topic(topic, who, expected):
    assert await code_of(authorise(Topic.parse(topic), who)) == expected


@pytest.mark.usefixtures("_tasks")
@USES_DATABASE
@pytest.mark.parametrize(
    ("named", "topic", "expected"),
    [
        ("task:hers", "task:hers", "allowed"),
        ("task:unknown", "task:unknown", "allowed"),
        ("task:hers", "task:nobodys", "unauthorized"),
        ("task:hers", "user:me", "unauthorized"),
        ("task:hers", "user:7", "unauthorized"),
        ("user:7", "user:7", "allowed"),
        ("user:7", "user:me", "allowed"),
        ("user:7", "task:hers", "allowed"),
        ("user:7", "task:nobodys", "unauthorized"),
        ("user:7", "task:unknown", "unauthorized"),
        ("user:8", "task:hers", "unauthorized"),
        ("user:me", "task:hers", "unauthorized"),
    ],
)
async def test_which_topics_a_token_grants(named, topic, expected):
    token = make_token([named])[0]
    for who in (None, AUDITOR):
        assert await code_of(authorise(Topic.parse(topic), who, token)) == expected


async def test_user_me_becomes_the_topic_of_the_user():
    assert await authorise(Topic.parse("user:me"), user()) == Topic("user", "7")
    token = make_token(["user:visitor-x"])[0]
    assert await authorise(Topic.parse("user:me"), None, token) == Topic("user", "visitor-x")


@pytest.mark.usefixtures("_tasks")
@USES_DATABASE
@pytest.mark.parametrize(
    ("task_id", "who", "granted", "expected"),
    [
        ("hers", user(), [], "allowed"),
        ("hers", BOSS, [], "allowed"),
        ("nobodys", BOSS, [], "allowed"),
        ("hers", AUDITOR, [], "not_found"),
        ("hers", PRETENDER, [], "not_found"),
        ("hers", user(8), [], "not_found"),
        ("hers", None, [], "not_found"),
        ("nobodys", ANONYMOUS, [], "not_found"),
        ("unknown", BOSS, [], "not_found"),
        ("hers", None, ["task:hers"], "allowed"),
        ("hers", None, ["user:7"], "allowed"),
        ("hers", None, ["user:8"], "not_found"),
        ("unknown", None, ["task:unknown"], "not_found"),
    ],
)
async def test_who_may_cancel_which_task(task_id, who, granted, expected):
    grants = grants_of(make_token(granted)[0]) if granted else []
    assert await code_of(authorise_cancel(task_id, who, grants)) == expected
