"""An ASGI application whose project routes WebSockets itself, as docs/install.md describes."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.field.brief_settings")
django_application = get_asgi_application()

from realtime.routing import websocket_urlpatterns  # noqa: E402 - after Django is set up

application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": AuthMiddlewareStack(URLRouter(websocket_urlpatterns)),
    }
)
