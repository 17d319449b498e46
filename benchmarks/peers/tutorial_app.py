"""The web process of the tutorial."""

from __future__ import annotations

import os
from typing import Any, cast

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
django_application = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

from tests.tutorial_consumer import TutorialConsumer  # noqa: E402


class PubSubConsumer(TutorialConsumer):
    """The same consumer on the Pub/Sub layer."""

    channel_layer_alias = "pubsub"


#: The paths of the consumers, one for each layer.
routes = [
    path("pubsub/<slug:group>/", cast(Any, PubSubConsumer.as_asgi())),
    path("default/<slug:group>/", cast(Any, TutorialConsumer.as_asgi())),
]
application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": cast(Any, AuthMiddlewareStack(URLRouter(routes))),
    }
)
