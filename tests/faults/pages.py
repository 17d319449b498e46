"""Pages: the JavaScript client under Node, its callbacks, and the tokens that it requests."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from project.processes import ROOT
from realtime.web.access.tokens import make_token
from scripts.node import find_node
from tests.client.watcher import Reader

CLIENT = ROOT / "static" / "realtime" / "client.js"
#: Bytes of one line of a page.
LINE = 1 << 20


class Page(Reader):
    """One page."""

    #: Where its tokens come from; `token_server` sets it.
    tokens: ClassVar[str] = ""

    def __init__(
        self, name: str, url: str, topics: Mapping[str, Sequence[str]], rng: random.Random
    ) -> None:
        super().__init__(name, topics, rng)
        self.url = url
        self._topics = set(topics)
        #: The keys of all statuses.
        self.keys: set[str] = set()
        #: Each time that a topic was subscribed to.
        self.subscribed: list[str] = []

    @property
    def stands(self) -> bool:
        return self._topics <= set(self.subscribed)

    async def run(self) -> None:
        """Open the page; close it when cancelled."""
        node = find_node()
        assert node is not None, "no Node 22 or newer on PATH nor in Playwright's wheel"
        options = {
            "client": CLIENT.as_uri(),
            "url": self.url,
            "origin": f"http://{urlsplit(self.url).netloc}",
            "tokens": self.tokens,
            "tasks": self.watches,
        }
        process = await asyncio.create_subprocess_exec(
            node,
            str(Path(__file__).with_name("page.mjs")),
            json.dumps(options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async for line in process.stdout:
                self._take(json.loads(line))
            raise RuntimeError(f"{self.name} ended: {(await process.stderr.read()).decode()}")
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def _take(self, line: dict[str, Any]) -> None:
        if "subscribed" in line:
            self.subscribed.append(line["subscribed"])
        elif "closed" in line:
            self.codes.append(line["closed"])
        elif "violation" in line:
            self.violations.append(line["violation"])
        else:
            status = line["status"]
            self.keys |= status.keys()
            self.call_back(status, at=time.monotonic())


@contextmanager
def token_server() -> Iterator[list[str]]:
    """Give tokens to pages, as a project's own view does; yield the requested topics."""
    requested: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            [topic] = parse_qs(urlsplit(self.path).query)["topic"]
            requested.append(topic)
            body = make_token([topic])[0].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        Page.tokens = f"http://127.0.0.1:{server.server_port}/"
        try:
            yield requested
        finally:
            server.shutdown()
            thread.join()
