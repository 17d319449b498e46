"""``manage.py runserver`` of an ASGI project: pages, static files and WebSockets.

Django uses the first app in ``INSTALLED_APPS`` that has a command of this name. It is Daphne's
command; with ``"daphne"`` in ``INSTALLED_APPS`` instead, every Celery worker would load Twisted.
"""

from __future__ import annotations

from daphne.management.commands.runserver import Command as DaphneCommand


class Command(DaphneCommand):  # type: ignore[misc]
    """Serves ``ASGI_APPLICATION`` for development, and restarts when the code changes."""
