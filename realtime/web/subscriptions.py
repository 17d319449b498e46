"""What one client has subscribed to, and by which right."""

from __future__ import annotations

import asyncio
import functools
import math
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Final

from realtime.conf import conf
from realtime.core import frames
from realtime.core.codes import ErrorCode
from realtime.core.logs import get_logger
from realtime.core.topics import Topic
from realtime.ownership import is_visitor
from realtime.store import get_store
from realtime.store.base import Reading

from .access.policy import (
    NOT_FOUND_MESSAGE,
    Grant,
    Reason,
    Refused,
    grant,
    is_still_granted,
    not_found,
)
from .cursor import Cursor
from .hub import Hub, Subscription
from .outbox import Outbox

logger = get_logger("realtime.connection")

#: So often a request begins anew where the user, or the task's owner, changes meanwhile.
ATTEMPTS: Final = 3
#: Seconds in which it is found out whether a subscription may go on.
_CHECK_TIME: Final = 5.0
#: Seconds between two attempts to find that out.
_PAUSE: Final = 1.0
_TOKEN_ENDED: Final = "the token is not valid any more"  # noqa: S105
_MOVED: Final = "the visitor has signed in: the tasks are the user's now"


@dataclass(slots=True, eq=False)
class Subscribed:
    """What a client has subscribed to under one name, and by which right."""

    grant: Grant
    subscription: Subscription
    #: The token that was given.
    token: str | None = None
    #: Calls when the token ends.
    timer: asyncio.TimerHandle | None = None
    #: Whether the grant is decided anew. Nothing is delivered before that.
    undecided: bool = False


class Subscriptions:
    """One client's subscriptions, and what ends them unasked."""

    __slots__ = ("_by_name", "_hub", "_outbox", "_shown", "_tasks", "_token", "looks", "user")

    def __init__(self, user: Any, hub: Hub, outbox: Outbox) -> None:
        self.user = user
        #: How often it was looked at whether the user still is who they were.
        self.looks = 0
        self._hub = hub
        self._outbox = outbox
        self._by_name: dict[Topic, Subscribed] = {}
        # Made when they are needed: most connections subscribe once, and are silent then.
        self._tasks: set[asyncio.Task[None]] | None = None
        #: What tokens have granted, for the frames that carry none.
        self._shown: dict[Topic, Grant] | None = None
        #: The last token, which many subscriptions share.
        self._token: str | None = None

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: Topic) -> Subscribed | None:
        """Return what the client has subscribed to under a name."""
        return self._by_name.get(name)

    def put(self, name: Topic, fresh: Subscribed) -> None:
        """Let a subscription take the place of an earlier one of its name, if there is one."""
        self.end(name)
        self._by_name[name] = fresh
        self._watch_token(name, fresh)

    def end(self, name: Topic) -> None:
        """End a subscription; also where there is none."""
        subscribed = self._by_name.pop(name, None)
        if subscribed is not None:
            self.drop(subscribed)

    def drop(self, subscribed: Subscribed) -> None:
        """End something that is not, or no longer, among the subscriptions."""
        if subscribed.timer is not None:
            subscribed.timer.cancel()
        self._hub.drop(subscribed.grant.topic, subscribed.subscription)

    async def close(self) -> None:
        """End everything."""
        tasks = tuple(self._tasks or ())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for name in tuple(self._by_name):
            self.end(name)

    async def join(self, frame: frames.Subscribe) -> tuple[Subscribed, Reading, Callable[[], None]]:
        """Decide and read; again where the user or the owner changed between the two."""
        name = str(frame.topic)
        for _ in range(ATTEMPTS):
            looks = self.looks
            granted = await grant(frame.topic, self.user, frame.token)
            cursor = Cursor(name)
            subscription = Subscription(
                functools.partial(self._outbox.put_event, cursor),
                _nothing,
                cursor=cursor,
                limit=frame.limit,
            )
            fresh = Subscribed(granted, subscription, self._same_token(frame.token))
            subscription.on_reading = functools.partial(self._take_reading, frame.topic, fresh)
            subscription.admits = functools.partial(_admits, fresh)
            reading, begin = await self._hub.subscribe(granted.topic, subscription, frame.since)
            _name_owner(fresh, reading)
            if reading.moved_to is not None and granted.reason is Reason.TOKEN:
                self.drop(fresh)
                raise Refused(ErrorCode.UNAUTHORIZED, _MOVED)
            if looks == self.looks and not is_anothers(fresh.grant, reading):
                return fresh, reading, begin  # and nothing may wait before it is put
            self.drop(fresh)
        raise not_found()

    def _same_token(self, token: str | None) -> str | None:
        if token != self._token:
            self._token = token
        return self._token

    # Who may still see what

    def granted(self) -> list[Grant]:
        """Return what tokens that have not ended grant, of the last ones that were given."""
        now = time.time()
        shown = {topic: each for topic, each in (self._shown or {}).items() if each.ends > now}
        self._shown = shown or None
        return list(shown.values())

    def _watch_token(self, name: Topic, subscribed: Subscribed) -> None:
        """Remember what a token granted, and look again when it ends."""
        granted = subscribed.grant
        if granted.reason is not Reason.TOKEN:
            return
        self.granted()
        shown = self._shown = self._shown or {}
        shown.pop(granted.topic, None)
        while len(shown) >= conf().MAX_SUBSCRIPTIONS:
            del shown[next(iter(shown))]
        shown[granted.topic] = granted
        subscribed.timer = asyncio.get_running_loop().call_later(
            max(0.0, granted.ends - time.time()),
            lambda: self._spawn(self._token_ended(name, subscribed)),
        )

    async def _token_ended(self, name: Topic, subscribed: Subscribed) -> None:
        """Go on by the right of the session, if it allows the topic."""
        try:
            async with asyncio.timeout(_CHECK_TIME):
                granted = await grant(name, self.user)
        except Refused:
            granted = None
        except Exception as error:  # noqa: BLE001 - the database may be away in many ways
            logger.warning("check_failed error=%r", error)
            granted = None
        if self._by_name.get(name) is not subscribed:
            return
        if granted is None or granted.topic != subscribed.grant.topic:
            self._withdraw(name, subscribed, ErrorCode.UNAUTHORIZED, _TOKEN_ENDED)
        else:
            subscribed.grant = granted

    def _take_reading(self, name: Topic, subscribed: Subscribed, reading: Reading) -> None:
        """Send a snapshot that nobody asked for; but not to somebody else than the owner."""
        if is_anothers(subscribed.grant, reading):
            subscribed.subscription.pause()
            if not subscribed.undecided:
                subscribed.undecided = True
                self._spawn(self._decide_anew(name, subscribed, reading))
            return
        text = frames.snapshot(str(name), reading.position, reading.texts, listed(reading))
        self._outbox.put_reading(subscribed.subscription.cursor, reading.position, text)

    async def _decide_anew(self, name: Topic, subscribed: Subscribed, reading: Reading) -> None:
        """Find out whether a paused subscription may go on, now that the topic has another owner.

        It stays paused while that cannot be found out.
        """
        granted = await self._grant_again(name, subscribed)
        if granted is not None and granted.reason is Reason.TOKEN:
            granted = await self._of_same_life(granted, subscribed.grant.owner)
        if self._by_name.get(name) is not subscribed:
            return
        moved = reading.moved_to is not None
        stands = granted is not None and granted.topic == subscribed.grant.topic
        if granted is None or not stands or (moved and granted.reason is Reason.TOKEN):
            code, message = ErrorCode.NOT_FOUND, NOT_FOUND_MESSAGE
            if moved:
                code, message = ErrorCode.UNAUTHORIZED, _MOVED
            elif subscribed.grant.reason is Reason.TOKEN and subscribed.grant.ends < time.time():
                # It is not known whether the token would still do: the client may renew it.
                code, message = ErrorCode.UNAUTHORIZED, _TOKEN_ENDED
            self._withdraw(name, subscribed, code, message)
            return
        if subscribed.timer is not None and granted.reason is not Reason.TOKEN:
            subscribed.timer.cancel()
        subscribed.grant = granted
        _name_owner(subscribed, reading)
        subscribed.undecided = False
        self._hub.refresh(granted.topic, subscribed.subscription)

    async def _grant_again(self, name: Topic, subscribed: Subscribed) -> Grant | None:
        """Return a new grant: by the session, or by the token if that is still good for it."""
        for token in (None, subscribed.token):
            while True:
                try:
                    async with asyncio.timeout(_CHECK_TIME):
                        return await grant(name, self.user, token)
                except Refused:
                    break
                except Exception as error:  # noqa: BLE001 - the store may be away in many ways
                    logger.warning("check_failed error=%r", error)
                    await asyncio.sleep(_PAUSE)
        return None

    async def _of_same_life(self, granted: Grant, owner: str | None) -> Grant | None:
        """Return what a token grants, unless the task was another owner's who did not sign in.

        The store knows when a task changed hands only as long as it keeps the record.
        """
        while owner and owner != granted.owner:
            try:
                moved = is_visitor(owner) and await get_store().moved_to(owner) == granted.owner
            except Exception as error:  # noqa: BLE001 - the store may be away in many ways
                logger.warning("check_failed error=%r", error)
                await asyncio.sleep(_PAUSE)
                continue
            return granted if moved else None
        return granted

    def _withdraw(self, name: Topic, subscribed: Subscribed, code: ErrorCode, message: str) -> None:
        """End a subscription, unasked."""
        if self._by_name.get(name) is subscribed:
            del self._by_name[name]
            if self._shown is not None:
                self._shown.pop(subscribed.grant.topic, None)
            self.drop(subscribed)
            self._outbox.drop(str(name))
            self._outbox.put(frames.withdrawn(str(name), code, message))

    @property
    def has_rights(self) -> bool:
        """Whether the client sees anything by a right that can be withdrawn."""
        return any(each.grant.reason is Reason.RIGHT for each in self._by_name.values())

    async def look(self, user: Any) -> None:
        """Take who the user is by now, and end what they may not see any more."""
        self.user = user
        self.looks += 1
        message = "the right to see this was withdrawn"
        for name, subscribed in list(self._by_name.items()):
            if not await is_still_granted(subscribed.grant, user):
                self._withdraw(name, subscribed, ErrorCode.FORBIDDEN, message)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        if self._tasks is None:
            self._tasks = set()
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _nothing(_reading: Reading) -> None:
    """Stand in until there is somebody to tell."""


def listed(reading: Reading) -> frames.Listed | None:
    """Return what goes with a snapshot; None for a topic of one task."""
    return None if reading.total is None else frames.Listed(reading.total, reading.next)


def is_anothers(granted: Grant, reading: Reading) -> bool:
    """Return whether a reading is of a topic with another owner than the one that was granted."""
    if reading.moved_to is not None:
        return granted.reason is Reason.TOKEN
    return reading.owner is not None and reading.owner != granted.owner


def _admits(subscribed: Subscribed, reading: Reading) -> bool:
    """Return whether a subscription may go on, as far as the owner counts for its grant."""
    _name_owner(subscribed, reading)
    return not is_anothers(subscribed.grant, reading)


def _name_owner(subscribed: Subscribed, reading: Reading) -> None:
    """Note whose a task is by now that a token named before anybody had published it.

    The token is good for whoever owns it; from now on it must be this owner.
    """
    granted = subscribed.grant
    if granted.reason is Reason.TOKEN and granted.owner is None:
        subscribed.grant = replace(granted, owner=reading.owner)


def seconds_left(granted: Grant) -> int | None:
    """Return when a grant ends by itself; None for one that does not."""
    if granted.reason is not Reason.TOKEN:
        return None
    return max(0, math.floor(granted.ends - time.time()))
