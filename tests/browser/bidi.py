"""A Firefox, controlled over WebDriver BiDi (w3.org/TR/webdriver-bidi), as far as tests need it.

Playwright drives a Firefox of its own making only.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

DEADLINE = 60.0  #: seconds


class Firefox:
    """A Firefox, and the tab of one visitor."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.tab = self.user_context = ""

    async def command(self, method: str, **params: Any) -> Any:
        """Return a command's result. Raises AssertionError with Firefox's error."""
        number = next(self._numbers)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        async with asyncio.timeout(DEADLINE):
            while (message := json.loads(await self._socket.recv())).get("id") != number:
                pass
        assert message["type"] == "success", message
        return message["result"]

    @asynccontextmanager
    async def visitor(self) -> AsyncIterator[None]:
        """Open a tab that shares nothing with the tabs before it."""
        context = (await self.command("browser.createUserContext"))["userContext"]
        self.user_context = context
        made = await self.command("browsingContext.create", type="tab", userContext=context)
        self.tab = made["context"]
        await self.command("browsingContext.activate", context=self.tab)  # timers run slowly else
        try:
            yield
        finally:
            await self.command("browser.removeUserContext", userContext=context)

    async def open(self, url: str) -> None:
        """Show a page, and return when it is loaded."""
        await self.command("browsingContext.navigate", context=self.tab, url=url, wait="complete")

    async def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, or of its promise, in the page, as JSON."""
        done = await self.command(
            "script.evaluate",
            expression=f"Promise.resolve({expression}).then(it => JSON.stringify(it ?? null))",
            target={"context": self.tab},
            awaitPromise=True,
        )
        assert done["type"] == "success", done
        return json.loads(done["result"]["value"])

    async def until(self, expression: str) -> None:
        """Wait until an expression is true in the page."""
        await self.evaluate(
            "new Promise(resolve => {"
            f" const look = () => ({expression}) ? resolve() : setTimeout(look, 20); look(); }})"
        )


@asynccontextmanager
async def firefox(path: str, profile: Path) -> AsyncIterator[Firefox]:
    """Start a Firefox, and end it."""
    process = await asyncio.create_subprocess_exec(
        *(path, "--headless", "--no-remote", "--remote-debugging-port", "0"),
        *("--profile", str(profile)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(DEADLINE):
            while not (found := re.search(rb"ws://\S+", await process.stderr.readline())):
                assert process.returncode is None, "Firefox has ended"
        drain = asyncio.create_task(process.stderr.read())  # else it waits with a full pipe
        url = f"{found[0].decode()}/session"
        async with connect(url, max_size=None, ping_interval=None, proxy=None) as socket:
            started = Firefox(socket)
            await started.command("session.new", capabilities={})
            yield started
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
    await drain
