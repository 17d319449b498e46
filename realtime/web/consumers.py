"""The consumer: one connection, from the handshake to its close."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer

from realtime.conf import conf
from realtime.core import frames
from realtime.core.codes import CloseCode, ErrorCode
from realtime.core.topics import TASK, Topic
from realtime.exceptions import FrameError

from .auth import Refused, authorise, authorise_cancel, is_allowed_origin
from .cancel import request_cancel
from .hub import Hub, Subscription, get_hub
from .outbox import Outbox, Send
from .recall import arecall

logger = logging.getLogger("realtime.connection")

#: So many frames that are not of the protocol, in so many seconds, end a connection.
BAD_REQUESTS: Final = 5
BAD_REQUESTS_WINDOW: Final = 10.0


class TaskConsumer(AsyncConsumer):
    """Answers one client's frames, and forwards the events of what it subscribed to."""

    #: No channel, no group and no layer loop of its own: the process's hub has them.
    channel_layer_alias = None  # type: ignore[assignment]

    async def __call__(
        self,
        scope: Any,
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Serve the connection, and leave nothing behind however it ends."""
        self.user = scope.get("user")
        self.subscriptions: dict[Topic, tuple[Topic, Subscription]] = {}
        #: What tokens have granted here, for the frames that carry none.
        self.granted: set[Topic] = set()
        self.bad_requests: deque[float] = deque(maxlen=BAD_REQUESTS)
        self.tasks: list[asyncio.Task[None]] = []
        self.closing = False
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Channels calls no disconnect handler where a handler failed (channels#1466).
            await self._leave()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Call the handler, without Channels' hop through a thread for every message.

        That hop closes database connections; what asks the database here does so by itself.
        """
        await getattr(self, get_handler_name(message))(message)

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        """Accept, if the Origin may connect, and say welcome; else the handshake gets a 403."""
        if not is_allowed_origin(self.scope):
            await self.send({"type": "websocket.close"})
            raise StopConsumer
        await self.send({"type": "websocket.accept"})
        settings = conf()
        self.hub: Hub = get_hub()
        self.outbox = Outbox(cast(Send, self.scope.get("realtime.send", self.send)))
        self.outbox.put(
            frames.welcome(
                ping=settings.PING,
                subscriptions=settings.SUBSCRIPTIONS,
                frame_bytes=settings.FRAME_BYTES,
            )
        )
        loop = asyncio.get_running_loop()
        self.tasks = [loop.create_task(self.outbox.run()), loop.create_task(self._watch_idle())]
        logger.info("connection_opened user=%s", getattr(self.user, "pk", None))

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        """Answer one frame."""
        if self.closing:
            return
        text = message.get("text")
        binary = message.get("bytes") or b""
        if len(binary if text is None else text.encode()) > conf().FRAME_BYTES:
            limit = f"a frame has at most {conf().FRAME_BYTES} bytes"
            self.outbox.put(frames.error(ErrorCode.TOO_LARGE, limit))
            self._close(CloseCode.TOO_LARGE, limit)
        elif text is None:
            self._bad_request("a frame is a text frame", None)
        else:
            await self._answer(text)

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """End; what is to be left is left by :meth:`__call__`."""
        logger.info("connection_closed code=%s", message.get("code"))
        raise StopConsumer

    async def _answer(self, text: str) -> None:
        frame_id = None
        try:
            frame = frames.parse(text)
            frame_id = frame.id
            match frame:
                case frames.Subscribe():
                    await self._subscribe(frame)
                case frames.Unsubscribe():
                    await self._unsubscribe(frame.topic)
                    self.outbox.put(frames.unsubscribed(frame.id, str(frame.topic)))
                case frames.Cancel():
                    await authorise_cancel(frame.task_id, self.user, self.granted)
                    await request_cancel(frame.task_id)
                    self.outbox.put(frames.cancelled(frame.id, frame.task_id))
                case frames.Ping():
                    self.outbox.put(frames.pong(frame.id))
        except FrameError as error:
            self._bad_request(str(error), error.frame_id)
        except Refused as refused:
            self.outbox.put(frames.error(refused.code, str(refused), frame_id=frame_id))
        except Exception:
            ref = secrets.token_hex(4)
            logger.exception("frame_failed ref=%s", ref)
            failed = "the service failed, try again"
            self.outbox.put(frames.error(ErrorCode.INTERNAL, failed, frame_id=frame_id, ref=ref))

    async def _subscribe(self, frame: frames.Subscribe) -> None:
        if (
            len(self.subscriptions) >= conf().SUBSCRIPTIONS
            and frame.topic not in self.subscriptions
        ):
            limit = f"at most {conf().SUBSCRIPTIONS} subscriptions a connection"
            raise Refused(ErrorCode.LIMIT, limit)
        topic = await authorise(frame.topic, self.user, frame.token)
        if frame.token is not None:
            self.granted.add(topic)
        await self._unsubscribe(frame.topic)  # asking again begins again
        name = str(frame.topic)
        subscription = Subscription(
            on_event=functools.partial(self.outbox.put_event, name),
            on_snapshot=lambda position, texts: self.outbox.put_reading(
                name, position, frames.snapshot(name, position, texts)
            ),
        )
        reading, begin = await self.hub.subscribe(topic, subscription, frame.since)
        self.subscriptions[frame.topic] = topic, subscription
        answer = frames.subscribed(
            frame.id, name, reading.position, reading.texts, recovered=reading.recovered
        )
        self.outbox.put_reading(name, reading.position, answer)
        begin()
        if topic.kind == TASK and not reading.texts and not reading.recovered:
            await arecall(topic.ident)  # its ending follows as an event, if there is one

    async def _unsubscribe(self, name: Topic) -> None:
        topic, subscription = self.subscriptions.pop(name, (name, None))
        if subscription is not None:
            await self.hub.unsubscribe(topic, subscription)

    def _bad_request(self, message: str, frame_id: int | None) -> None:
        self.outbox.put(frames.error(ErrorCode.BAD_REQUEST, message, frame_id=frame_id))
        now = time.monotonic()
        self.bad_requests.append(now)
        first = self.bad_requests[0]
        if len(self.bad_requests) == BAD_REQUESTS and now - first < BAD_REQUESTS_WINDOW:
            self._close(CloseCode.BAD_REQUESTS, "too many frames that are not of the protocol")

    async def _watch_idle(self) -> None:
        await asyncio.sleep(conf().IDLE_TIMEOUT)
        if not self.subscriptions:
            self._close(CloseCode.IDLE, "nothing was subscribed")

    def _close(self, code: CloseCode, message: str) -> None:
        if not self.closing:
            self.closing = True
            self.outbox.close(code, message)

    async def _leave(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for name in list(self.subscriptions):
            with contextlib.suppress(Exception):  # the layer may be away; the next join repairs it
                await self._unsubscribe(name)
