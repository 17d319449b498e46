"""The process of the web server: `python -m project.web`, with HOST and PORT in the environment.

The process migrates the database first: another process for that would import Django a second time,
and double the time until the first page.
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
