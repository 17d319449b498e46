"""The setting ``REALTIME``: one dict, typed defaults, read when used.

Every key is a field of :class:`Settings`; ``docs/settings.md`` explains them to users.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Final

from django.conf import settings as django_settings
from django.core.signals import setting_changed

from .exceptions import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The keys of ``REALTIME`` and their defaults."""

    # Where
    REDIS_URL: str = "redis://127.0.0.1:6379/0"  #: the server of the store and of the groups
    STORE: str = "realtime.store.redis.RedisStore"  #: or ``…memory.MemoryStore``, for tests
    CHANNEL_LAYER: str = "default"  #: an alias of CHANNEL_LAYERS; made from REDIS_URL if missing
    PREFIX: str = "realtime"  #: the beginning of every key and group in Redis

    # What is kept
    RECORD_TTL: int = 24 * 3600  #: seconds a task is kept after its end
    UNFINISHED_TTL: int = 7 * 24 * 3600  #: seconds a task is kept while nothing happens to it
    MAX_HISTORY_EVENTS: int = 64  #: events of a topic, for clients that reconnect
    HISTORY_TTL: int = 600  #: seconds a log is kept after its last event
    MAX_LIST_TASKS: int = 1000  #: tasks that a `user:` topic keeps, the newest
    MAX_RESULT_BYTES: int = 4096  #: clients request a larger result separately

    # Worker
    TASKS: Sequence[str] = ()  #: patterns of the tasks that are pushed, "!" excludes; () for all
    PROGRESS_RATE: float = 10.0  #: the most progress events of a task per second
    PROGRESS_META: bool = False  #: whether other keys of update_state's meta are pushed
    PUBLISH_TIMEOUT: float = 0.3  #: seconds a task waits for Redis, at most
    MAX_QUEUED_CHANGES: int = 10_000  #: changes that a process keeps while Redis is away
    REDACT: str = ""  #: a function that removes secrets before they leave the worker; see the docs

    # Tasks that have not ended
    LOST_TIMEOUT: int = 60  #: seconds from STALLED to LOST; more where the broker redelivers
    RECONCILE_INTERVAL: float = 5.0  #: seconds between two checks of tasks that have not ended

    # Web
    OWNER: str = ""  #: a function that returns the owner of a user's tasks; see the docs
    ALLOWED_ORIGINS: Sequence[str] = ()  #: besides the site's own and CSRF_TRUSTED_ORIGINS
    TOKEN_AGE: int = 900  #: seconds for which a signed token is valid
    CAN_SUBSCRIBE: str = ""  #: a function that allows more users to see a topic; see the docs
    ACCESS_INTERVAL: float = 30.0  #: seconds between two access checks of a connection
    MAX_SUBSCRIPTIONS: int = 128  #: of one connection
    MAX_REFUSALS_PER_MINUTE: int = 20  #: of a connection; further requests are not checked
    MAX_FRAMES_PER_SECOND: float = 10.0  #: frames a second that a client may send in the long run
    MAX_FRAME_BURST: int = 50  #: frames that a client may send at once
    MAX_CONNECTIONS: int = 10_000  #: of one process
    MAX_CONNECTIONS_PER_USER: int = 10  #: in one process
    MAX_CONNECTIONS_PER_ADDRESS: int = 50  #: in one process
    TRUSTED_PROXIES: int = 0  #: the number of proxies that add to X-Forwarded-For
    MAX_FRAME_BYTES: int = 16 * 1024  #: the largest frame a client may send
    MAX_OUTBOX_EVENTS: int = 256  #: frames that wait for a client before progress is merged
    MAX_OUTBOX_BYTES: int = 512 * 1024  #: bytes that wait for a client before it is closed
    SLOW_TIMEOUT: float = 30.0  #: seconds for which a slow client may read nothing
    PING_INTERVAL: int = 25  #: seconds after which a silent client pings
    IDLE_TIMEOUT: float = 10.0  #: seconds until a connection's first subscription
    CHECK_INTERVAL: float = 5.0  #: seconds between two checks of the positions in the store

    # Server: `manage.py serve`
    MAX_BODY_BYTES: int = 20_000_000  #: the largest body of an HTTP request
    REQUEST_TIMEOUT: float = 9.0  #: seconds for a request's head, and between parts of its body
    DRAIN_SECONDS: float = 3.0  #: seconds over which SIGTERM's closes are spread


def conf() -> Settings:
    """Return the settings in force.

    Raises SettingsError for a key that does not exist or a value of the wrong type.
    """
    return _read()


def redis_address(parse_url: Callable[[str], Any]) -> dict[str, Any]:
    """Return the server of ``REDIS_URL``, as options of a connection.

    Other options of the URL (``?socket_timeout=20``) are left out: they would override the
    service's own time limits.
    """
    options = parse_url(conf().REDIS_URL)
    return {k: v for k, v in options.items() if k in _ADDRESS or k.startswith("ssl")}


@lru_cache(maxsize=1)
def _read() -> Settings:
    given = getattr(django_settings, "REALTIME", {})
    if not isinstance(given, dict):
        raise SettingsError(f"REALTIME: {given!r} is not a dict", key="")
    known = {field.name: field for field in fields(Settings)}
    for key, value in given.items():
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else f"allowed: {', '.join(known)}"
            raise SettingsError(f"REALTIME: unknown key {key!r}; {remedy}", key=key)
        wanted = _TYPES[str(known[key].type)]
        items = value if isinstance(value, list | tuple) else ()
        fits = isinstance(value, wanted) and isinstance(value, bool) is (wanted is bool)
        if not fits or not all(isinstance(item, str) for item in items):
            raise SettingsError(f"REALTIME[{key!r}]: {value!r} is not {known[key].type}", key=key)
        # A number may be 0 only if its default is 0.
        if isinstance(value, int | float) and value <= 0 and value != known[key].default:
            raise SettingsError(f"REALTIME[{key!r}]: {value!r} is not above 0", key=key)
    if ":" in str(given.get("PREFIX", "")):
        # The keys of the prefix "a:task" could equal those of "a" for tasks with certain ids.
        problem = f"REALTIME['PREFIX']: {given['PREFIX']!r} contains ':'; use '-' or '.' instead"
        raise SettingsError(problem, key="PREFIX")
    return Settings(**given)


#: The options of REDIS_URL that name the server and the user; also those that begin with "ssl".
_ADDRESS: Final = frozenset(
    ("host", "port", "path", "db", "username", "password", "connection_class", "protocol")
)

_TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "bool": bool,
    "int": int,
    "float": (int, float),
    "Sequence[str]": (list, tuple),
}


def _forget(*, setting: str, **_kwargs: object) -> None:
    if setting == "REALTIME":
        _read.cache_clear()


setting_changed.connect(_forget)
