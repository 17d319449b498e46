"""What the tests speak to a running service with: the wire contract, held strictly.

    async with connect(service, session=people.alice.session) as client:
        answer = await client.subscribe(f"task:{task_id}")
        event = await client.event()

Every wait has a deadline, and every frame must be strict JSON without a trace of the inside.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import re
import secrets
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NoReturn, Protocol
from urllib.parse import urlsplit

from django.test import override_settings
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed

from realtime.core.change import Change
from realtime.core.jsontext import dumps
from realtime.core.states import TERMINAL
from realtime.store import get_store
from realtime.web.access.tokens import make_token

Frame = dict[str, Any]

#: Seconds until a test gives up waiting.
DEADLINE = 30.0

#: As the JavaScript client: frames at once, and frames a second after that.
BURST = 40
FRAMES_PER_SECOND = 8

#: What would show a caller the inside of the service.
INSIDE = re.compile(r"Traceback|File \"|site-packages|\.py\b|Error\(")


class Addressed(Protocol):
    """What the tests need to know of a service."""

    url: str
    ws_url: str
    data_dir: Any


# Over a WebSocket


class Client:
    """One connection. What arrives waits in order until somebody asks for it."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        #: The first frame, once it was taken.
        self.welcome: Frame = {}
        self._waiting: deque[Frame] = deque()
        self._numbers = itertools.count(1)
        self._due = 0.0

    async def send(self, frame: Frame | str | bytes) -> None:
        """Send an object as JSON, text or bytes as they are; not faster than is allowed."""
        self._due = max(self._due, time.monotonic() - BURST / FRAMES_PER_SECOND)
        self._due += 1 / FRAMES_PER_SECOND
        await asyncio.sleep(self._due - time.monotonic())
        await self.socket.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    async def next(self) -> Frame:
        """Return the next frame."""
        return self._waiting.popleft() if self._waiting else await self._receive()

    async def answer(self, number: int) -> Frame:
        """Return the frame that answers the one with this id; what came before it waits on."""
        return await self._first(lambda frame: frame.get("id") == number)

    async def event(self, topic: str | None = None) -> Frame:
        """Return the next frame that nobody asked for, of a topic if one is named."""
        return await self._first(
            lambda frame: "id" not in frame and (topic is None or frame.get("topic") == topic)
        )

    async def ending(self, topic: str) -> list[Frame]:
        """Return a topic's events up to the first one that is an ending."""
        events = [await self.event(topic)]
        while events[-1]["status"]["state"] not in TERMINAL:
            events.append(await self.event(topic))
        return events

    async def ask(self, type_: str, **keys: Any) -> Frame:
        """Send a frame with an id of its own and return the answer."""
        number = next(self._numbers)
        await self.send({"type": type_, "id": number, **keys})
        return await self.answer(number)

    async def subscribe(self, topic: str, **keys: Any) -> Frame:
        """Subscribe, and return the answer, whatever it is."""
        return await self.ask("subscribe", topic=topic, **keys)

    async def has_nothing(self) -> bool:
        """Return whether nothing came that nobody asked for: what was sent before a pong."""
        await self.ask("ping")
        return not self._waiting

    async def close_code(self) -> int:
        """Wait until the service closes, and return the code; frames before it wait on."""
        with suppress(ConnectionClosed):
            while True:
                self._waiting.append(await self._receive())
        code = self.socket.close_code
        assert code is not None
        return code

    def waiting(self) -> list[Frame]:
        """Return what arrived and nobody asked for yet."""
        return list(self._waiting)

    async def _first(self, wanted: Callable[[Frame], bool]) -> Frame:
        for index, frame in enumerate(self._waiting):
            if wanted(frame):
                del self._waiting[index]
                return frame
        while not wanted(frame := await self._receive()):
            self._waiting.append(frame)
        return frame

    async def _receive(self) -> Frame:
        async with asyncio.timeout(DEADLINE):
            text = await self.socket.recv()
        assert isinstance(text, str), "a frame is a text frame"
        frame: Frame = strict_json(text)
        return frame


@asynccontextmanager
async def connect(
    service: Addressed,
    *,
    session: str = "",
    origin: str | None = "own",
    headers: Sequence[tuple[str, str]] = (),
) -> AsyncIterator[Client]:
    """Connect and take the welcome; `origin` None sends none, "own" the page's.

    Raises `websockets.exceptions.InvalidStatus` where the handshake is refused.
    """
    given = list(headers)
    if origin is not None:
        given.append(("Origin", service.url if origin == "own" else origin))
    if session:
        given.append(("Cookie", f"sessionid={session}"))
    async with open_socket(
        service.ws_url,
        additional_headers=given,
        compression=None,
        max_size=None,
        ping_interval=None,
        open_timeout=DEADLINE,
        close_timeout=DEADLINE,
        proxy=None,
    ) as socket:
        client = Client(socket)
        client.welcome = await client.next()
        yield client


# Over HTTP


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    code: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """The body, which must be strict JSON and say so."""
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


# From the worker's side


def fresh_id() -> str:
    """An id that no task has had."""
    return str(uuid.uuid4())


def say(task_id: str, state: str, *, owner: object = "", **fields: Any) -> int:
    """Let the service accept a change, as a worker would; return its version, 0 if stale.

    `owner` is a user's key, or the ident of a visitor; the fields are values, not JSON text.
    """
    texts = {key: dumps(value) for key, value in fields.items()}
    return get_store().accept(Change(task_id=task_id, state=state, owner=str(owner), fields=texts))


def tell(task_id: str, *currents: int, owner: object = "") -> None:
    """Let the service accept progress."""
    for current in currents:
        progress = {"current": current, "total": None, "message": None}
        assert say(task_id, "PROGRESS", owner=owner, progress=progress)


def user(key: int | None) -> Any:
    """What `owned_by()` takes for the user with this primary key."""
    return SimpleNamespace(pk=key, is_authenticated=key is not None)


def token_for(service: Addressed, *topics: str) -> str:
    """A token that the service takes, as its own pages would make it."""
    with secret_of(service):
        return make_token(topics)[0]


def secret_of(service: Addressed) -> Any:
    """The settings under which what is signed here is the service's own signature."""
    return override_settings(SECRET_KEY=(service.data_dir / "secret_key").read_text())


# Strictness


def strict_json(text: str) -> Any:
    """Read JSON; NaN, infinities and doubled keys are errors, and so is a sight of the inside."""
    assert not INSIDE.search(text), text
    return json.loads(text, parse_constant=_refuse, object_pairs_hook=_object)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    assert len(found) == len(pairs), "a key is there twice"
    return found
