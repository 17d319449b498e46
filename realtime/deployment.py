"""The settings that are dangerous where strangers can reach the service: one list.

``manage.py check --deploy`` reports all of them; ``manage.py serve`` refuses to start with some.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from celery import current_app
from django.conf import settings as django_settings
from django.core import checks
from django.core.checks.security.base import (
    SECRET_KEY_INSECURE_PREFIX,
    SECRET_KEY_MIN_LENGTH,
    SECRET_KEY_MIN_UNIQUE_CHARACTERS,
)

from .conf import conf

#: Seconds that a token, which cannot be withdrawn, should be valid at most.
MAX_TOKEN_AGE: Final = 900


class Danger(NamedTuple):
    """A dangerous setting; ``refused`` means that ``manage.py serve`` does not start with it."""

    message: checks.CheckMessage
    refused: bool = False


def dangers() -> Iterator[Danger]:
    """Yield the dangers of the settings in force. Raises SettingsError for a wrong ``REALTIME``."""
    yield from _django_dangers()
    yield from _origin_dangers()
    yield from _celery_dangers()
    yield from _exposed_secrets()


def _django_dangers() -> Iterator[Danger]:
    if django_settings.DEBUG:
        yield Danger(
            checks.Error(
                "DEBUG is on: error pages show the code and the settings to everybody.",
                hint="Set DEBUG = False.",
                id="realtime.E010",
            ),
            refused=True,
        )
    key = django_settings.SECRET_KEY
    if (
        key.startswith(SECRET_KEY_INSECURE_PREFIX)
        or len(key) < SECRET_KEY_MIN_LENGTH
        or len(set(key)) < SECRET_KEY_MIN_UNIQUE_CHARACTERS
    ):
        yield Danger(
            checks.Warning(
                "SECRET_KEY is Django's example, or short: sessions and tokens could be forged.",
                hint=f"Make one of {SECRET_KEY_MIN_LENGTH} random characters or more, and keep it"
                " secret.",
                id="security.W009",  # Django's own, which `check --deploy` reports already
            ),
            refused=True,
        )
    if "*" in django_settings.ALLOWED_HOSTS:
        yield Danger(
            checks.Error(
                "ALLOWED_HOSTS contains '*': a page of any host may open a WebSocket as its own.",
                hint="Name the hosts that serve the site.",
                id="realtime.E011",
            ),
            refused=True,
        )


def _origin_dangers() -> Iterator[Danger]:
    for origin in (*conf().ALLOWED_ORIGINS, *django_settings.CSRF_TRUSTED_ORIGINS):
        scheme, _, host = origin.partition("://")
        if scheme != "https" or not host.removeprefix("*").strip("."):
            yield Danger(
                checks.Error(
                    f"The origin {origin!r} may open a WebSocket with a visitor's session, and is"
                    " not one host or domain over https.",
                    hint="Correct REALTIME['ALLOWED_ORIGINS'] and CSRF_TRUSTED_ORIGINS.",
                    id="realtime.E012",
                )
            )


def _celery_dangers() -> Iterator[Danger]:
    celery = current_app.conf
    for key in ("accept_content", "result_accept_content"):
        accepted = set(celery[key] or celery.accept_content or ())  # Kombu's default is JSON
        if accepted - {"json", "application/json"}:
            yield Danger(
                checks.Error(
                    f"Celery's {key} allows more than JSON: anybody who can write to the broker can"
                    " run code.",
                    hint=f"Set {key} = ['json'].",
                    id="realtime.E013",
                )
            )


def _exposed_secrets() -> Iterator[Danger]:
    settings = conf()
    if settings.TOKEN_AGE > MAX_TOKEN_AGE:
        yield Danger(
            checks.Warning(
                f"A token is valid for {settings.TOKEN_AGE} s, and cannot be withdrawn.",
                hint=f"Set REALTIME['TOKEN_AGE'] to at most {MAX_TOKEN_AGE}: clients can renew.",
                id="realtime.W010",
            )
        )
    url = urlsplit(settings.REDIS_URL)
    if not url.password and not _is_local(url.scheme, url.hostname):
        yield Danger(
            checks.Warning(
                "Redis is on another machine and needs no password.",
                hint="Give it a user and a password (see SECURITY.md), and a private network.",
                id="realtime.W011",
            )
        )
    for key in ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE"):
        if not getattr(django_settings, key):
            yield Danger(
                checks.Warning(
                    f"{key} is off: a WebSocket without TLS would carry the session.",
                    hint=f"Serve over https and set {key} = True.",
                    id="realtime.W012",
                )
            )


def _is_local(scheme: str, host: str | None) -> bool:
    if scheme == "unix" or host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
