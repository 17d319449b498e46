"""`python -m tests.field.echo_server PORT`: the server with an application that sends back."""

from __future__ import annotations

import os
import sys
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from realtime.serving import serve  # noqa: E402 - only now: Django is set up


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Send each message back as it came; answer HTTP with 204."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    while (message := await receive())["type"] != "websocket.disconnect":
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        else:
            await send({**message, "type": "websocket.send"})


if __name__ == "__main__":
    serve(echo, "127.0.0.1", int(sys.argv[1]))
