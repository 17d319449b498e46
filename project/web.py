"""The web server's process, `python -m project.web`: HOST and PORT from the environment.

It migrates the database first, in the same process: importing Django twice would double the time to
the first page.
"""

from __future__ import annotations

import os

import django
from django.core.management import call_command
from django.db import connections

from project.uploads import TOO_LARGE
from realtime.serving import serve


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    connections.close_all()

    from project.asgi import application

    host, port = os.environ.get("HOST") or "127.0.0.1", int(os.environ.get("PORT") or 8000)
    serve(application, host, port, too_large=TOO_LARGE)


if __name__ == "__main__":
    main()
