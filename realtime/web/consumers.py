"""The consumer: one connection, from the handshake to its close."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, cast

from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer

from realtime.conf import conf
from realtime.core import frames
from realtime.core.codes import CloseCode, ErrorCode
from realtime.core.logs import get_logger
from realtime.core.topics import TASK, Topic
from realtime.exceptions import FrameError
from realtime.ownership import owner_of_user

from .access import session_name
from .auth import (
    Grant,
    Reason,
    Refused,
    authorise_cancel,
    grant,
    not_found,
    still_stands,
)
from .cancel import request_cancel
from .drain import enter, leave
from .hub import Hub, Subscription, get_hub
from .limits import Bucket, Window, client_address, connections, warn_of_proxy
from .origins import is_allowed_origin
from .outbox import Outbox, Write
from .recall import arecall
from .watch import get_watch

logger = get_logger("realtime.connection")

#: So many frames that are not of the protocol, in so many seconds, end a connection.
BAD_REQUESTS: Final = 5
BAD_REQUESTS_WINDOW: Final = 10.0
#: ``REFUSALS`` are counted over so many seconds.
REFUSALS_WINDOW: Final = 60.0

_ENDED: Final = {
    CloseCode.SIGNED_OUT: "signed out",
    CloseCode.SESSION_EXPIRED: "the session has expired, sign in again",
}


@dataclass(slots=True, eq=False)
class _Subscribed:
    """What a client has subscribed to under one name, and by which right."""

    grant: Grant
    subscription: Subscription
    #: Ends it together with its token.
    timer: asyncio.TimerHandle | None = None


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
        """Serve the connection, and leave nothing behind however it ends.

        In place of Channels' own way, which waits for each message in a task of its own (for the
        channel that this has not), and calls each handler by a hop through a thread, which closes
        database connections; what asks the database here does so by itself.
        """
        self.scope, self.base_send = scope, send
        self.user = scope.get("user")
        self.owner = owner_of_user(self.user)
        self.session = session_name(scope)
        self.address = client_address(scope)
        self.entered = False
        #: Ends it; until the first subscription.
        self.idle: asyncio.TimerHandle | None = None
        self.subscriptions: dict[Topic, _Subscribed] = {}
        #: What tokens have granted here, for the frames that carry none, and when each ends.
        self.granted: dict[Topic, Grant] = {}
        settings = conf()
        self.bad_requests = Window(BAD_REQUESTS, BAD_REQUESTS_WINDOW)
        self.refusals = Window(settings.REFUSALS, REFUSALS_WINDOW)
        self.bucket = Bucket(settings.FRAME_RATE, settings.FRAME_BURST)
        #: How often it was looked at whether the user still is who they were.
        self.looks = 0
        self.tasks: list[asyncio.Task[None]] = []
        self.closing = False
        try:
            while True:
                await self.dispatch(await receive())
        except StopConsumer:
            pass
        finally:
            # Channels calls no disconnect handler where a handler failed (channels#1466).
            await self._leave()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Call the handler."""
        await getattr(self, get_handler_name(message))(message)

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        """Accept, if the Origin may connect, and say welcome; else the handshake gets a 403."""
        if not is_allowed_origin(self.scope):
            await self.send({"type": "websocket.close"})
            raise StopConsumer
        await self.send({"type": "websocket.accept"})
        self.hub: Hub = get_hub()
        self.outbox = Outbox(self.send, cast(Write | None, self.scope.get("realtime.write")))
        if full := connections.enter(self.address, self.owner):
            await self._turn_away(full)
        settings = conf()
        self.idle = asyncio.get_running_loop().call_later(
            settings.IDLE_TIMEOUT, self._close, CloseCode.IDLE, "nothing was subscribed"
        )
        self.entered = True
        self.outbox.put(
            frames.welcome(
                ping=settings.PING,
                subscriptions=settings.SUBSCRIPTIONS,
                frame_bytes=settings.FRAME_BYTES,
            )
        )
        get_watch().join(self)
        enter(self._restart)
        logger.info("connection_opened user=%s", getattr(self.user, "pk", None))

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        """Answer one frame."""
        await self.outbox.room()
        if self.closing or self.outbox.closed:
            return
        if not self.bucket.take():
            limit = f"at most {conf().FRAME_RATE:g} frames a second"
            self.outbox.put(frames.error(ErrorCode.LIMIT, limit))
            self._close(CloseCode.RATE, limit)
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
                    await authorise_cancel(frame.task_id, self.user, self._shown())
                    await request_cancel(frame.task_id)
                    self.outbox.put(frames.cancelled(frame.id, frame.task_id))
                case frames.Ping():
                    self.outbox.put(frames.pong(frame.id))
        except FrameError as error:
            self._bad_request(str(error), error.frame_id)
        except Refused as refused:
            self.outbox.put(frames.error(refused.code, str(refused), frame_id=frame_id))
            if refused.code is not ErrorCode.LIMIT and self.refusals.add():
                self._close(CloseCode.RATE, "too much that was refused")
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
        looks = self.looks
        granted = await grant(frame.topic, self.user, frame.token)
        name = str(frame.topic)
        subscription = Subscription(
            on_event=functools.partial(self.outbox.put_event, name),
            on_snapshot=lambda position, texts: self.outbox.put_reading(
                name, position, frames.snapshot(name, position, texts)
            ),
        )
        reading, begin = await self.hub.subscribe(granted.topic, subscription, frame.since)
        fresh = _Subscribed(granted, subscription)
        while looks != self.looks:  # the right was looked at before the user changed
            looks = self.looks
            if not await still_stands(granted, self.user):
                await self.hub.unsubscribe(granted.topic, subscription)
                raise not_found()
        self._end_idling()
        # Asking again begins again. The earlier one stood until here, so a token that is renewed
        # leaves no gap, whatever goes wrong meanwhile.
        earlier = self.subscriptions.pop(frame.topic, None)
        self.subscriptions[frame.topic] = fresh
        if granted.reason is Reason.TOKEN:
            self._remember(frame.topic, fresh)
        if earlier is not None:
            await self._end(earlier)
            if self.subscriptions.get(frame.topic) is not fresh:
                raise not_found()  # withdrawn meanwhile
        answer = frames.subscribed(
            frame.id, name, reading.position, reading.texts, recovered=reading.recovered
        )
        self.outbox.put_reading(name, reading.position, answer)
        begin()
        if granted.topic.kind == TASK and not reading.texts and not reading.recovered:
            await arecall(granted.topic.ident)  # its ending follows as an event, if there is one

    async def _unsubscribe(self, name: Topic) -> None:
        subscribed = self.subscriptions.pop(name, None)
        if subscribed is not None:
            await self._end(subscribed)

    async def _end(self, subscribed: _Subscribed) -> None:
        if subscribed.timer is not None:
            subscribed.timer.cancel()
        await self.hub.unsubscribe(subscribed.grant.topic, subscribed.subscription)

    # Who may still see what

    def _shown(self) -> list[Grant]:
        """Return what tokens that have not ended grant."""
        now = time.time()
        self.granted = {topic: each for topic, each in self.granted.items() if each.ends > now}
        return list(self.granted.values())

    def _remember(self, name: Topic, subscribed: _Subscribed) -> None:
        """Remember what a token granted, and end the subscription when the token ends."""
        self._shown()
        granted = subscribed.grant
        self.granted[granted.topic] = granted
        message = "the token is not valid any more"
        subscribed.timer = asyncio.get_running_loop().call_later(
            max(0.0, granted.ends - time.time()),
            lambda: self._spawn(self._withdraw(name, subscribed, ErrorCode.UNAUTHORIZED, message)),
        )

    async def _withdraw(
        self, name: Topic, subscribed: _Subscribed, code: ErrorCode, message: str
    ) -> None:
        """End a subscription, unasked."""
        if self.subscriptions.get(name) is subscribed:
            del self.subscriptions[name]
            self.outbox.drop(str(name))
            self.outbox.put(frames.withdrawn(str(name), code, message))
            await self._end(subscribed)

    @property
    def sees_more(self) -> bool:
        """Whether it sees anything by a right that can be withdrawn."""
        return any(each.grant.reason is Reason.RIGHT for each in self.subscriptions.values())

    def sign_out(self) -> None:
        """Close: the session has ended."""
        self._shut_out(CloseCode.SIGNED_OUT)

    def _shut_out(self, code: CloseCode) -> None:
        if not self.closing:
            self.outbox.drop()
        self._close(code, _ENDED[code])

    async def looked(self, found: Any) -> None:
        """Take who the user is by now, and see what they still may."""
        if isinstance(found, CloseCode):
            self._shut_out(found)
            return
        self.user = found
        self.looks += 1
        message = "the right to see this was withdrawn"
        for name, subscribed in list(self.subscriptions.items()):
            if not await still_stands(subscribed.grant, found):
                await self._withdraw(name, subscribed, ErrorCode.FORBIDDEN, message)

    # Ends

    async def _turn_away(self, reason: str) -> None:
        """Close a connection that there is no room for, before it is welcome."""
        logger.info("connection_refused user=%s address=%s", self.owner, self.address)
        if reason.endswith("an address"):
            warn_of_proxy(self.scope)
        for text in (
            frames.error(ErrorCode.LIMIT, reason),
            frames.closing(CloseCode.FULL, reason),
        ):
            await self.send({"type": "websocket.send", "text": text})
        await self.send({"type": "websocket.close", "code": int(CloseCode.FULL)})
        raise StopConsumer

    def _bad_request(self, message: str, frame_id: int | None) -> None:
        self.outbox.put(frames.error(ErrorCode.BAD_REQUEST, message, frame_id=frame_id))
        if self.bad_requests.add():
            self._close(CloseCode.BAD_REQUESTS, "too many frames that are not of the protocol")

    def _close(self, code: CloseCode, message: str) -> None:
        if not self.closing:
            self.closing = True
            self.outbox.close(code, message)

    def _end_idling(self) -> None:
        if self.idle is not None:
            self.idle.cancel()
            self.idle = None

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.append(task)
        task.add_done_callback(self.tasks.remove)

    def _restart(self) -> None:
        self._close(CloseCode.RESTART, "server restart")

    async def _leave(self) -> None:
        leave(self._restart)
        if self.entered:
            connections.leave(self.address, self.owner)
            self._end_idling()
            get_watch().leave(self)
            await self.outbox.stop()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for name in list(self.subscriptions):
            with contextlib.suppress(Exception):  # the layer may be away; the next join repairs it
                await self._unsubscribe(name)
