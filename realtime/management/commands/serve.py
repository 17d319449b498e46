"""``manage.py serve``: the service's web server, for production."""

from __future__ import annotations

import re
from typing import Any, Final

from channels.routing import get_default_application
from django.core.management.base import BaseCommand, CommandError, CommandParser

from realtime.deployment import dangers

_ADDRESS: Final = re.compile(r"(?:(?P<host>\[[0-9a-fA-F:]+\]|[^:]+):)?(?P<port>\d{1,5})")


class Command(BaseCommand):
    """Serves ``ASGI_APPLICATION``, unless a setting makes that dangerous."""

    help = "Serves the ASGI application over HTTP and WebSocket until SIGTERM, then drains."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the argument ``address``."""
        parser.add_argument(
            "address", nargs="?", default="127.0.0.1:8000", help="[host:]port (127.0.0.1:8000)"
        )

    def handle(self, *args: Any, address: str, **options: Any) -> None:
        """Serve. Raises CommandError for a wrong address, and for dangerous settings."""
        found = _ADDRESS.fullmatch(address)
        if found is None or int(found["port"]) > 65535:
            raise CommandError(f"{address!r} is no address; give [host:]port")
        if refused := [danger.message for danger in dangers() if danger.refused]:
            lines = [f"  {message.msg} {message.hint}" for message in refused]
            raise CommandError("\n".join(["These settings are too dangerous to serve:", *lines]))
        from realtime.serving import serve  # only now: it chooses Twisted's reactor

        serve(get_default_application(), found["host"] or "127.0.0.1", int(found["port"]))
