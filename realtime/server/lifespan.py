"""ASGI's lifespan protocol, which Daphne does not have."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from realtime.core.logs import get_logger

logger = get_logger("realtime.server")

#: Seconds that the application has to clean up.
GRACE: Final = 2.0


class LifespanError(Exception):
    """The application answered that it cannot start."""


class Lifespan:
    """Sends the application the events of its start and its end."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._to_application: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._from_application: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when the application is ready. Raises LifespanError where it cannot start."""
        self._task = asyncio.create_task(self._run())
        await self._request("startup")

    async def stop(self) -> None:
        """Return when the application has cleaned up, or after a while."""
        try:
            async with asyncio.timeout(GRACE):
                await self._request("shutdown")
        except (LifespanError, TimeoutError) as error:
            logger.warning("shutdown_failed error=%r", error)

    async def _request(self, step: str) -> None:
        if self._task is None or self._task.done():
            return
        self._to_application.put_nowait({"type": f"lifespan.{step}"})
        answer = await self._from_application.get()
        if answer["type"] == f"lifespan.{step}.failed":
            raise LifespanError(answer.get("message", ""))

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}
        try:
            await self._application(scope, self._to_application.get, self._from_application.put)
        except Exception as error:  # noqa: BLE001 - the specification: it then has no lifespan
            logger.debug("no_lifespan error=%r", error)
        finally:
            self._from_application.put_nowait({"type": "ended"})
