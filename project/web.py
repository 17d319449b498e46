"""The web server's process, `python -m project.web`: HOST and PORT from the environment.

It brings the database to what the code needs first, in the same process: to import Django
twice would double the time to the first page.
"""

from __future__ import annotations

import os

import django
from daphne.cli import CommandLineInterface
from django.core.management import call_command
from django.db import connections

from project.server import LimitedServer


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    connections.close_all()
    serve(os.environ.get("HOST") or "127.0.0.1", int(os.environ.get("PORT") or 8000))


def serve(host: str, port: int) -> None:
    """Serve until SIGTERM. The server's own backlog of 50 would make a burst of browsers wait."""
    interface = host.replace(":", r"\:")
    endpoint = f"tcp:port={port}:interface={interface}:backlog=4096"
    CommandLineInterface.server_class = LimitedServer
    CommandLineInterface().run(["-e", endpoint, "project.asgi:application"])


if __name__ == "__main__":
    main()
