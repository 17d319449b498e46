"""One client's session: its subscriptions, requests and limits, without a transport."""

from __future__ import annotations

import asyncio
import functools
import secrets
from typing import Any, Final

from realtime.conf import conf
from realtime.core import frames
from realtime.core.codes import CloseCode, ErrorCode
from realtime.core.jsontext import timestamp
from realtime.core.logs import get_logger
from realtime.core.topics import TASK

from .access.addresses import client_address, warn_of_proxy
from .access.identity import user_key
from .access.limits import Bucket, Refusals, Window, limits
from .access.policy import Refused, TooMany, authorise_cancel, grant, not_found
from .access.revocation import get_access_checker
from .access.sessions import session_fingerprint
from .cancel import request_cancel
from .gate import rank_of
from .hub import Hub, get_hub
from .outbox import Outbox, Sink
from .registry import get_registry
from .requests import OUTSTANDING, Requests
from .subscriptions import Subscriptions, expires_in, listed

logger = get_logger("realtime.connection")

#: The invalid frames within a window of seconds that end a connection.
BAD_REQUESTS: Final = 5
BAD_REQUESTS_WINDOW: Final = 10.0
#: Seconds until the check of a client that waited for an answer is repeated.
_IDLE_AGAIN: Final = 1.0
#: Seconds after which a browser surely has the session's new cookie, from the response.
_COOKIE_TIME: Final = 2
_END_MESSAGES: Final = {
    CloseCode.SIGNED_OUT: "signed out",
    CloseCode.SESSION_EXPIRED: "the session has expired, sign in again",
}


class ClientSession:
    """Answers one client's requests, and sends it the events of its subscriptions.

    It writes to a sink. Calls that wait for the store, a database or a backend run in tasks.
    """

    __slots__ = (
        "_bad_requests",
        "_bucket",
        "_closing",
        "_expects_new_key",
        "_hub",
        "_idle",
        "_outbox",
        "_refusals",
        "_requests",
        "_sink",
        "address",
        "scope",
        "session",
        "subscriptions",
        "user_key",
    )

    def __init__(self, scope: Any, sink: Sink) -> None:
        self.scope = scope
        user = scope.get("user")
        #: Connections are counted by it, not by owner: users may share an owner, or have none.
        self.user_key = user_key(user)
        self.session = session_fingerprint(scope)
        self.address = client_address(scope)
        self._hub: Hub = get_hub()
        self._sink = sink
        self._outbox = Outbox(sink, self.leave)
        self.subscriptions = Subscriptions(user, self._hub, self._outbox)
        self._closing = self._expects_new_key = False
        #: Ends the connection, unless the client subscribes.
        self._idle: asyncio.TimerHandle | None = None
        # Made when they are needed: most clients subscribe once and send nothing more.
        self._requests: Requests | None = None
        self._bucket: Bucket | None = None
        self._bad_requests: Window | None = None
        self._refusals: Refusals | None = None

    # Begin and end

    async def open(self) -> bool:
        """Welcome the client; if there is no room, send the reason, close, and return False."""
        registry, checker = get_registry(), get_access_checker()
        if self.user_key:
            await checker.start()
        # From here to the end nothing waits, unless there is no room.
        if full := registry.refusal(self):
            logger.info("connection_refused user=%s address=%s", self.user_key, self.address)
            if full.endswith("an address"):
                warn_of_proxy(self.scope)
            await self._sink.send(frames.error(ErrorCode.LIMIT, full))
            await self._sink.send(frames.closing(CloseCode.FULL, full))
            await self._sink.close(int(CloseCode.FULL))
            return False
        settings = conf()
        self._watch_idle()
        self._outbox.put(
            frames.welcome(now=timestamp(), ping=settings.PING_INTERVAL, limits=limits(settings))
        )
        self._hub.start()
        registry.join(self)
        if self.user_key:
            checker.joined(self)
        logger.info("connection_opened user=%s", getattr(self.user, "pk", None))
        return True

    async def leave(self) -> None:
        """End everything that belongs to the session."""
        self._closing = True
        get_registry().leave(self)
        self._stop_idle_timer()
        await self._outbox.stop()
        if self._requests is not None:
            await self._requests.cancel()
        await self.subscriptions.close()

    def close(self, code: CloseCode, message: str, *, retry_after: int | None = None) -> None:
        """Send the reason and close, after everything that waits."""
        if not self._closing:
            self._closing = True
            self._outbox.close(code, message, retry_after=retry_after)

    def restart(self) -> None:
        """Close; the client connects again, since the process ends."""
        self.close(CloseCode.RESTART, "server restart")

    # Requests

    async def accepts_frame(self) -> bool:
        """Wait until the client has read its answers; return whether it may send a frame now."""
        await self._outbox.wait_for_room()
        if self._closing or self._outbox.closed:
            return False
        if self._is_within_rate():
            return True
        limit = f"at most {conf().MAX_FRAMES_PER_SECOND:g} frames a second"
        self.refuse(CloseCode.RATE, ErrorCode.LIMIT, limit)
        return False

    def answer_at_once(self, text: str) -> bool:
        """Answer a ping, without the loop that reads frames; return whether it is answered.

        That loop answers every other frame, and a ping that a limit may refuse.
        """
        pong = frames.pong_for(text)
        if pong is None or self._closing or not self._outbox.has_room or not self._is_within_rate():
            return False
        self._outbox.put(pong)
        return True

    def _is_within_rate(self) -> bool:
        """Count a frame; return whether the client may send it now."""
        if self._bucket is None:
            settings = conf()
            self._bucket = Bucket(settings.MAX_FRAMES_PER_SECOND, settings.MAX_FRAME_BURST)
        return self._bucket.allow()

    def refuse(self, code: CloseCode, error: ErrorCode, message: str) -> None:
        """Answer an error and close: the client broke a limit."""
        self._outbox.put(frames.error(error, message))
        self.close(code, message)

    def bad_request(self, message: str, frame_id: int | None) -> None:
        """Answer an invalid frame; too many of them end the connection."""
        self._outbox.put(frames.error(ErrorCode.BAD_REQUEST, message, frame_id=frame_id))
        if self._bad_requests is None:
            self._bad_requests = Window(BAD_REQUESTS, BAD_REQUESTS_WINDOW)
        if self._bad_requests.add():
            self.close(CloseCode.BAD_REQUESTS, "too many invalid frames")

    async def receive(self, request: frames.ClientFrame) -> None:
        """Answer a request, in a task; return soon, even if the answer takes long."""
        if isinstance(request, frames.Ping):
            self._outbox.put(frames.pong(request.id))
            return
        if self._requests is None:
            self._requests = Requests(lambda running: self._refusals_left > running)
        if len(self._requests) >= OUTSTANDING:
            message = "too many requests without an answer yet"
            self._answer_error(request.id, TooMany(message, 1))
            return
        if isinstance(request, frames.Cancel):
            topic = f"{TASK}:{request.task_id}"
        else:
            topic = str(request.topic)
        work = functools.partial(self._answer, request)
        rank = rank_of(request, has_subscription=len(self.subscriptions) > 0)
        on_timeout = functools.partial(self._answer_timeout, request.id)
        await self._requests.run(topic, work, on_timeout, rank)
        if not len(self._requests or ()):
            self._requests = None  # half a kilobyte

    async def _answer(self, request: frames.ClientFrame) -> None:
        try:
            match request:
                case frames.Subscribe():
                    await self._subscribe(request)
                case frames.Unsubscribe():
                    self._unsubscribe(request)
                case frames.Page():
                    await self._send_page(request)
                case frames.Cancel():
                    await self._cancel(request)
        except Refused as refused:
            self._answer_error(request.id, refused)
        except Exception:
            ref = secrets.token_hex(4)
            logger.exception("frame_failed ref=%s", ref)
            failed = "the service failed, try again"
            self._outbox.put(frames.error(ErrorCode.INTERNAL, failed, frame_id=request.id, ref=ref))

    def _answer_timeout(self, frame_id: int) -> None:
        ref = secrets.token_hex(4)
        logger.warning("frame_timeout ref=%s", ref)
        message = "the service took too long, try again"
        self._outbox.put(frames.error(ErrorCode.INTERNAL, message, frame_id=frame_id, ref=ref))

    def _answer_error(self, frame_id: int, refused: Refused) -> None:
        counts, more = refused.code is not ErrorCode.LIMIT, {}
        if isinstance(refused, TooMany):
            counts, more = refused.is_refusal, {"retry_after": refused.retry_after}
        self._outbox.put(frames.error(refused.code, str(refused), frame_id=frame_id, **more))
        if counts:
            self._count_refusal()

    # Refusals

    @property
    def _refusals_left(self) -> int:
        return conf().MAX_REFUSALS_PER_MINUTE if self._refusals is None else self._refusals.left

    def _count_refusal(self) -> None:
        if self._refusals is None:
            self._refusals = Refusals(conf().MAX_REFUSALS_PER_MINUTE)
        if self._refusals.add():
            self.close(CloseCode.RATE, "too many refused requests")

    def _check_refusals(self) -> None:
        """Raise TooMany after too many refusals: further requests are not checked."""
        if self._refusals is not None and (retry_after := self._refusals.retry_after):
            raise TooMany("too many refused requests", retry_after, is_refusal=True)

    # Subscribing

    async def _subscribe(self, frame: frames.Subscribe) -> None:
        kept = self.subscriptions
        earlier = kept.get(frame.topic)
        if earlier is None:
            self._check_refusals()
            self._check_room()
        else:
            # The subscription that replaces it reads what arrives meanwhile; or else this one does.
            earlier.pause()
        try:
            fresh, reading, begin = await kept.join(frame)
        except BaseException:
            if (
                earlier is not None
                and earlier is kept.get(frame.topic)
                and not earlier.is_checking_owner
            ):
                self._hub.resume(earlier.grant.topic, earlier)
            raise
        # No await from here on, so that no event is put before the answer.
        if self._closing:
            kept.drop(fresh)
            return
        # The earlier one may have been withdrawn meanwhile, as its token ended; this one has a
        # grant of its own.
        if kept.get(frame.topic) is None and self._is_full():
            kept.drop(fresh)
            self._check_room()
        self._stop_idle_timer()
        kept.put(frame.topic, fresh)
        name = str(frame.topic)
        answer = frames.subscribed(
            frame.id,
            name,
            reading.position,
            reading.texts,
            recovered=reading.recovered,
            listed=listed(reading),
            expires_in=expires_in(fresh.grant),
        )
        self._outbox.put_reading(fresh, reading.position, answer)
        begin()
        topic = fresh.grant.topic
        if topic.kind == TASK and not reading.texts and not reading.recovered:
            self._hub.recall(topic.ident)

    def _is_full(self) -> bool:
        return len(self.subscriptions) >= conf().MAX_SUBSCRIPTIONS

    def _check_room(self) -> None:
        if self._is_full():
            limit = f"at most {conf().MAX_SUBSCRIPTIONS} subscriptions a connection"
            raise Refused(ErrorCode.LIMIT, limit)

    def _unsubscribe(self, frame: frames.Unsubscribe) -> None:
        self.subscriptions.end(frame.topic)
        self._outbox.put(frames.unsubscribed(frame.id, str(frame.topic)))

    async def _send_page(self, frame: frames.Page) -> None:
        checks = self.subscriptions.access_checks
        subscribed = self.subscriptions.get(frame.topic)
        if subscribed is None:
            self._check_refusals()
            topic = (await grant(frame.topic, self.user)).topic
        else:
            topic = subscribed.grant.topic
        try:
            texts, following = await self._hub.read_page(topic, frame.after, frame.limit)
        except ValueError:
            message = "after must be the next of a snapshot or page"
            self.bad_request(message, frame.id)
            return
        changed = subscribed is None and checks != self.subscriptions.access_checks
        if changed or self.subscriptions.get(frame.topic) is not subscribed:
            raise not_found()  # withdrawn or replaced meanwhile
        self._outbox.put(frames.page(frame.id, str(frame.topic), texts, following))

    async def _cancel(self, frame: frames.Cancel) -> None:
        self._check_refusals()
        await authorise_cancel(frame.task_id, self.user, self.subscriptions.granted())
        await request_cancel(frame.task_id)
        self._outbox.put(frames.cancelled(frame.id, frame.task_id))

    # What the registry's users call: the access checks and the hub

    @property
    def user(self) -> Any:
        """The user as of the last access check."""
        return self.subscriptions.user

    @property
    def has_rights(self) -> bool:
        """Whether a subscription depends on a right that can be withdrawn."""
        return self.subscriptions.has_rights

    async def user_checked(self, result: Any) -> None:
        """Use the result of an access check: end what the user may not see any more."""
        if result is CloseCode.SIGNED_OUT and self._expects_new_key:
            # The browser may have the new cookie by now.
            message = "the session continues under another key"
            self._outbox.drop()
            self.close(CloseCode.RESTART, message, retry_after=_COOKIE_TIME)
        elif isinstance(result, CloseCode):
            self._close_at_once(result)
        else:
            await self.subscriptions.check_access(result)

    def sign_out(self) -> None:
        """Close: the session has ended."""
        self._close_at_once(CloseCode.SIGNED_OUT)

    def expect_new_session_key(self) -> None:
        """Note that the session continues under a key that this connection does not have."""
        self._expects_new_key = True

    def _close_at_once(self, code: CloseCode) -> None:
        """Close, and drop what waits: the client may not see it any more."""
        if not self._closing:
            self._outbox.drop()
        self.close(code, _END_MESSAGES[code])

    def store_changed(self, available: bool) -> None:
        """Notify the client that the store is away, or that it is back."""
        if not self._closing:
            self._outbox.put(frames.store(available=available))

    def _watch_idle(self) -> None:
        """Close if nothing is subscribed in time, unless the client waits for an answer then."""
        if self._idle is not None and not self._requests:  # the time is over
            self.close(CloseCode.IDLE, "nothing was subscribed")
            return
        timeout = conf().IDLE_TIMEOUT
        delay = timeout if self._idle is None else min(timeout, _IDLE_AGAIN)
        self._idle = asyncio.get_running_loop().call_later(delay, self._watch_idle)

    def _stop_idle_timer(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
