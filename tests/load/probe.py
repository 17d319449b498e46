"""The project's application, with a page of figures that only its process knows."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

from django.db.backends.signals import connection_created

from project.asgi import application as project_application

#: `tests.load.stage.PROBE`.
PATH = "/probe"

_queries = 0


def _count(execute: Any, *arguments: Any) -> Any:
    global _queries
    _queries += 1
    return execute(*arguments)


def _wrap(connection: Any, **_kwargs: Any) -> None:
    if _count not in connection.execute_wrappers:  # it is opened again and again
        connection.execute_wrappers.append(_count)


connection_created.connect(_wrap, weak=False)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer at PATH with the figures, after cyclic garbage is collected; else pass on."""
    if scope["type"] != "http" or scope["path"] != PATH:
        await project_application(scope, receive, send)
        return
    gc.collect()
    figures = {"asyncio tasks": len(asyncio.all_tasks()), "queries": _queries}
    head = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": json.dumps(figures).encode()})
