"""Requests of the HTTP endpoints, as a page or as a foreign program makes them."""

from __future__ import annotations

import http.client
import json
import random
import re
import secrets
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .protocol import DEADLINE, INSIDE, strict_json
from .websocket import Addressed


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    code: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """Return the body, which must be strict JSON of that content type."""
        assert self.headers["Content-Type"].split(";")[0] == "application/json", self.body[:200]
        return strict_json(self.body.decode())

    def cookie(self, name: str) -> str:
        """A cookie that the response sets, or ""."""
        lines = self.headers.get_all("Set-Cookie") or []
        found = [re.match(rf"{name}=([^;]*)", line) for line in lines]
        return next((match[1] for match in found if match), "")


def request(
    service: Addressed,
    method: str,
    path: str,
    *,
    session: str = "",
    token: str = "",
    body: Any = None,
    csrf: bool = True,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Ask the service; `body` goes as JSON unless it is bytes, `csrf` proves the own page."""
    secret = secrets.token_hex(16)
    cookies = [f"sessionid={session}"] if session else []
    cookies += [f"csrftoken={secret}"] if csrf else []
    given = {"Content-Type": "application/json"} if body is not None else {}
    given |= {"X-CSRFToken": secret} if csrf else {}
    given |= {"Authorization": f"Bearer {token}"} if token else {}
    given |= {"Cookie": "; ".join(cookies)} if cookies else {}
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=DEADLINE)
    try:
        connection.request(method, path, body=data, headers=given | dict(headers or {}))
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
    finally:
        connection.close()
    assert not INSIDE.search(answer.body.decode(errors="replace")), answer.body
    return answer


def median_seconds(
    url: str, session: str, foreign: Sequence[str], missing: Sequence[str]
) -> tuple[float, float]:
    """Return the median seconds of the answers about foreign and about missing tasks."""
    headers = {"Cookie": f"sessionid={session}"} if session else {}
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)

    def ask(task_id: str) -> float:
        begun = time.perf_counter()
        connection.request("GET", f"/realtime/tasks/{task_id}/", headers=headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 404:
            raise RuntimeError(f"{answer.status} instead of 404")
        return time.perf_counter() - begun

    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(20):
        ask(missing[0])  # warm
    for pair in zip(foreign, missing, strict=True):
        # Whichever is first in a pair may be slower or faster for it.
        for which in random.sample((0, 1), 2):
            times[which].append(ask(pair[which]))
    connection.close()
    return statistics.median(times[0]), statistics.median(times[1])
