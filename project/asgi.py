"""The ASGI application: pages and static files over HTTP, task status over WebSocket."""

import os

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
# Before the import of the routing, which imports models.
django_application = get_asgi_application()

from realtime import routing  # noqa: E402

application = routing.application(ASGIStaticFilesHandler(django_application))
