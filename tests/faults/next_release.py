"""An invented next release, which runs beside this one in a rolling deploy.

`become_next` changes a worker before the service is imported: a status has more keys.
`python -m tests.faults.next_release` is a web process whose frames have more keys, and beside which
there are frames of a type that this release does not know.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any

#: Keys that a status has then, with their JSON text.
MORE: dict[str, str] = {"schema": "3", "estimate": '{"seconds":[1,2.5],"text":"soon"}'}

Send = Callable[[dict[str, Any]], Awaitable[None]]


def become_next() -> None:
    """Let this process publish statuses with more keys."""
    from realtime.core import status

    status.FIELDS = (*status.FIELDS, *MORE)  # type: ignore[misc]
    status.INITIAL.update(MORE)


def next_application(application: Any) -> Any:
    """Return an ASGI application whose frames are those of the next release."""

    async def call(scope: dict[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] != "websocket":
            await application(scope, receive, send)
            return
        numbers = itertools.count(1)

        async def send_next(message: dict[str, Any]) -> None:
            if message["type"] == "websocket.send":
                frame = json.loads(message["text"])
                await send({**message, "text": json.dumps(_with_more(frame))})
                hint = {"type": "hint", "number": next(numbers), "topic": frame.get("topic")}
                await send({**message, "text": json.dumps(hint)})
            else:
                await send(message)

        # Every frame goes through here: without the way past ASGI.
        await application({**scope, "realtime.direct": None}, receive, send_next)

    return call


def _with_more(frame: dict[str, Any]) -> dict[str, Any]:
    more = {key: json.loads(text) for key, text in MORE.items()}
    for status in [
        *([frame["status"]] if "status" in frame else []),
        *frame.get("snapshot", []),
        *(event["status"] for event in frame.get("events", [])),
    ]:
        status.update(more)
    return {**frame, **more}


def main() -> None:
    """Serve the project as the next release."""
    from project import web

    serve = web.serve
    web.serve = lambda application, *arguments, **options: serve(
        next_application(application), *arguments, **options
    )
    web.main()


if __name__ == "__main__":
    main()
