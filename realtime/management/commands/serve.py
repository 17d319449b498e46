"""``manage.py serve``: the service's web server, for production."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from channels.routing import get_default_application
from django.conf import settings
from django.core.checks.security.base import (
    SECRET_KEY_INSECURE_PREFIX,
    SECRET_KEY_MIN_LENGTH,
    SECRET_KEY_MIN_UNIQUE_CHARACTERS,
)
from django.core.management.base import BaseCommand, CommandError, CommandParser

_ADDRESS: Final = re.compile(r"(?:(?P<host>\[[0-9a-fA-F:]+\]|[^:]+):)?(?P<port>\d{1,5})")


class Command(BaseCommand):
    """Serves ``ASGI_APPLICATION``, unless the settings would give it away."""

    help = "Serves the ASGI application over HTTP and WebSocket until SIGTERM, and then drains."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the address."""
        parser.add_argument(
            "address", nargs="?", default="127.0.0.1:8000", help="[host:]port (127.0.0.1:8000)"
        )

    def handle(self, *args: Any, address: str, **options: Any) -> None:
        """Serve. Raises CommandError where it would be dangerous to."""
        found = _ADDRESS.fullmatch(address)
        if found is None or int(found["port"]) > 65535:
            raise CommandError(f"{address!r} is no address; give [host:]port")
        if dangers := list(_dangers()):
            raise CommandError("\n".join(["Not with these settings:", *dangers]))
        from realtime.server.server import serve  # only now: it chooses Twisted's reactor

        serve(get_default_application(), found["host"] or "127.0.0.1", int(found["port"]))


def _dangers() -> Iterator[str]:
    """Return what must not meet the public, and what to do instead."""
    if settings.DEBUG:
        yield "  DEBUG shows everybody the code and the settings. Set DEBUG = False."
    key = settings.SECRET_KEY
    if (
        key.startswith(SECRET_KEY_INSECURE_PREFIX)
        or len(key) < SECRET_KEY_MIN_LENGTH
        or len(set(key)) < SECRET_KEY_MIN_UNIQUE_CHARACTERS
    ):
        yield (
            "  SECRET_KEY is Django's example, or short: sessions and tokens could be forged."
            f" Make one of {SECRET_KEY_MIN_LENGTH} random characters or more, and keep it secret."
        )
    if "*" in settings.ALLOWED_HOSTS:
        yield (
            "  ALLOWED_HOSTS lets any host through, and so the WebSocket any origin."
            " Name the hosts that serve the site."
        )
