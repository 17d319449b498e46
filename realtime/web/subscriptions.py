"""One client's subscriptions, with their grants, and what ends them."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final

from realtime.conf import conf
from realtime.core import frames
from realtime.core.codes import ErrorCode
from realtime.core.event import Event
from realtime.core.logs import get_logger
from realtime.core.topics import Topic
from realtime.ownership import is_visitor
from realtime.store import get_store
from realtime.store.reading import Reading

from .access.policy import (
    NOT_FOUND_MESSAGE,
    Grant,
    Reason,
    Refused,
    grant,
    is_still_granted,
    not_found,
)
from .hub import Hub
from .outbox import Outbox
from .subscription import BaseSubscription

logger = get_logger("realtime.connection")

#: Attempts of a request, each time the user or the task's owner changes meanwhile.
ATTEMPTS: Final = 3
#: Seconds that a request for a new grant may take.
_GRANT_TIMEOUT: Final = 5.0
#: Seconds between two such requests.
_PAUSE: Final = 1.0
_TOKEN_ENDED: Final = "the token is not valid any more"  # noqa: S105
_MOVED: Final = "the visitor has signed in: the tasks are the user's now"


class GrantedSubscription(BaseSubscription):
    """A client's subscription under its name for the topic, and the grant for it."""

    __slots__ = (
        "_outbox",
        "_subscriptions",
        "grant",
        "is_checking_owner",
        "name",
        "timer",
        "token",
    )

    def __init__(
        self, subscriptions: Subscriptions, outbox: Outbox, frame: frames.Subscribe, granted: Grant
    ) -> None:
        super().__init__(sys.intern(str(frame.topic)), limit=frame.limit)
        self._subscriptions = subscriptions
        self._outbox = outbox
        self.name = frame.topic
        self.grant = granted
        #: The token of the request, if any.
        self.token = subscriptions.share_token(frame.token)
        #: Calls a method when the token ends.
        self.timer: asyncio.TimerHandle | None = None
        #: Whether a new grant is requested, since the task's owner changed. Nothing is delivered
        #: meanwhile.
        self.is_checking_owner = False

    def on_event(self, event: Event) -> None:
        """Send an event."""
        self._outbox.put_event(self, event)

    def on_reading(self, reading: Reading) -> None:
        """Send a snapshot unasked, if the grant is for its owner."""
        self._subscriptions.send_reading(self, reading)

    def admits(self, reading: Reading) -> bool:
        """Return whether the grant is valid for the owner of a reading."""
        _note_owner(self, reading)
        return not has_other_owner(self.grant, reading)


class Subscriptions:
    """One client's subscriptions, by the client's names for the topics."""

    __slots__ = (
        "_by_name",
        "_hub",
        "_last_token",
        "_outbox",
        "_tasks",
        "_token_grants",
        "access_checks",
        "user",
    )

    def __init__(self, user: Any, hub: Hub, outbox: Outbox) -> None:
        self.user = user
        #: Counts the access checks, so that a request notices one that happened meanwhile.
        self.access_checks = 0
        self._hub = hub
        self._outbox = outbox
        self._by_name: dict[Topic, GrantedSubscription] = {}
        # Made when they are needed: most clients subscribe once and send nothing more.
        self._tasks: set[asyncio.Task[None]] | None = None
        #: What tokens have granted, for frames that carry no token.
        self._token_grants: dict[Topic, Grant] | None = None
        #: The last token: subscriptions that were given equal ones share one text.
        self._last_token: str | None = None

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: Topic) -> GrantedSubscription | None:
        """Return the client's subscription under a name."""
        return self._by_name.get(name)

    def put(self, name: Topic, fresh: GrantedSubscription) -> None:
        """Add a subscription, in place of the earlier one of its name, if any."""
        self.end(name)
        self._by_name[name] = fresh
        self._watch_token(name, fresh)

    def end(self, name: Topic) -> None:
        """End a subscription, if there is one."""
        subscribed = self._by_name.pop(name, None)
        if subscribed is not None:
            self.drop(subscribed)

    def drop(self, subscribed: GrantedSubscription) -> None:
        """End a subscription that is not, or no longer, among these."""
        if subscribed.timer is not None:
            subscribed.timer.cancel()
        self._hub.drop(subscribed.grant.topic, subscribed)

    async def close(self) -> None:
        """End all subscriptions, and the tasks."""
        tasks = tuple(self._tasks or ())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for name in tuple(self._by_name):
            self.end(name)

    async def join(
        self, frame: frames.Subscribe
    ) -> tuple[GrantedSubscription, Reading, Callable[[], None]]:
        """Get a grant and read the topic; repeat both if the user or the owner changes meanwhile.

        Raises Refused. Returns the subscription, its first reading, and a call that starts the
        deliveries; the caller puts the subscription before it waits for anything.
        """
        for _ in range(ATTEMPTS):
            checks = self.access_checks
            granted = await grant(frame.topic, self.user, frame.token)
            fresh = GrantedSubscription(self, self._outbox, frame, granted)
            reading, begin = await self._hub.subscribe(granted.topic, fresh, frame.since)
            _note_owner(fresh, reading)
            if reading.moved_to is not None and granted.reason is Reason.TOKEN:
                self.drop(fresh)
                raise Refused(ErrorCode.UNAUTHORIZED, _MOVED)
            if checks == self.access_checks and not has_other_owner(fresh.grant, reading):
                return fresh, reading, begin
            self.drop(fresh)
        raise not_found()

    def share_token(self, token: str | None) -> str | None:
        """Return an equal token that an earlier subscription has."""
        if token != self._last_token:
            self._last_token = token
        return self._last_token

    # Grants that end

    def granted(self) -> list[Grant]:
        """Return what the latest tokens grant that have not ended."""
        now = time.time()
        grants = self._token_grants or {}
        valid = {topic: each for topic, each in grants.items() if each.ends > now}
        self._token_grants = valid or None
        return list(valid.values())

    def _watch_token(self, name: Topic, subscribed: GrantedSubscription) -> None:
        """Keep what a token granted, and check the subscription when it ends."""
        granted = subscribed.grant
        if granted.reason is not Reason.TOKEN:
            return
        self.granted()
        grants = self._token_grants = self._token_grants or {}
        grants.pop(granted.topic, None)
        while len(grants) >= conf().MAX_SUBSCRIPTIONS:
            del grants[next(iter(grants))]
        grants[granted.topic] = granted
        subscribed.timer = asyncio.get_running_loop().call_later(
            max(0.0, granted.ends - time.time()),
            lambda: self._spawn(self._token_ended(name, subscribed)),
        )

    async def _token_ended(self, name: Topic, subscribed: GrantedSubscription) -> None:
        """Continue if the session allows the topic; else withdraw the subscription."""
        try:
            async with asyncio.timeout(_GRANT_TIMEOUT):
                granted = await grant(name, self.user)
        except Refused:
            granted = None
        except Exception as error:  # noqa: BLE001 - databases fail in many ways
            logger.warning("grant_failed error=%r", error)
            granted = None
        if self._by_name.get(name) is not subscribed:
            return
        if granted is None or granted.topic != subscribed.grant.topic:
            self._withdraw(name, subscribed, ErrorCode.UNAUTHORIZED, _TOKEN_ENDED)
        else:
            subscribed.grant = granted

    def send_reading(self, subscribed: GrantedSubscription, reading: Reading) -> None:
        """Send a snapshot unasked; but first ask for a new grant if the owner is another one."""
        name = subscribed.name
        if has_other_owner(subscribed.grant, reading):
            subscribed.pause()
            if not subscribed.is_checking_owner:
                subscribed.is_checking_owner = True
                self._spawn(self._check_new_owner(name, subscribed, reading))
            return
        text = frames.snapshot(str(name), reading.position, reading.texts, listed(reading))
        self._outbox.put_reading(subscribed, reading.position, text)

    async def _check_new_owner(
        self, name: Topic, subscribed: GrantedSubscription, reading: Reading
    ) -> None:
        """Continue or withdraw a paused subscription, now that the topic has another owner.

        It stays paused until the store and the database answer.
        """
        granted = await self._grant_again(name, subscribed)
        if granted is not None and granted.reason is Reason.TOKEN:
            granted = await self._confirm_owner(granted, subscribed.grant.owner)
        if self._by_name.get(name) is not subscribed:
            return
        moved = reading.moved_to is not None
        is_same = granted is not None and granted.topic == subscribed.grant.topic
        if granted is None or not is_same or (moved and granted.reason is Reason.TOKEN):
            code, message = ErrorCode.NOT_FOUND, NOT_FOUND_MESSAGE
            if moved:
                code, message = ErrorCode.UNAUTHORIZED, _MOVED
            elif subscribed.grant.reason is Reason.TOKEN and subscribed.grant.ends < time.time():
                # The token may have granted this owner too: the client may renew it.
                code, message = ErrorCode.UNAUTHORIZED, _TOKEN_ENDED
            self._withdraw(name, subscribed, code, message)
            return
        if subscribed.timer is not None and granted.reason is not Reason.TOKEN:
            subscribed.timer.cancel()
        subscribed.grant = granted
        _note_owner(subscribed, reading)
        subscribed.is_checking_owner = False
        self._hub.refresh(granted.topic, subscribed)

    async def _grant_again(self, name: Topic, subscribed: GrantedSubscription) -> Grant | None:
        """Return a new grant, by the session or else by the token; None if both refuse."""
        for token in (None, subscribed.token):
            while True:
                try:
                    async with asyncio.timeout(_GRANT_TIMEOUT):
                        return await grant(name, self.user, token)
                except Refused:
                    break
                except Exception as error:  # noqa: BLE001 - stores fail in many ways
                    logger.warning("grant_failed error=%r", error)
                    await asyncio.sleep(_PAUSE)
        return None

    async def _confirm_owner(self, granted: Grant, owner: str | None) -> Grant | None:
        """Return a token's grant if its earlier owner is a visitor who became the new one.

        The store knows when a task's owner changed only as long as it keeps the record.
        """
        while owner and owner != granted.owner:
            try:
                moved = is_visitor(owner) and await get_store().moved_to(owner) == granted.owner
            except Exception as error:  # noqa: BLE001 - stores fail in many ways
                logger.warning("grant_failed error=%r", error)
                await asyncio.sleep(_PAUSE)
                continue
            return granted if moved else None
        return granted

    def _withdraw(
        self, name: Topic, subscribed: GrantedSubscription, code: ErrorCode, message: str
    ) -> None:
        """End a subscription unasked, and send the client the reason."""
        if self._by_name.get(name) is subscribed:
            del self._by_name[name]
            if self._token_grants is not None:
                self._token_grants.pop(subscribed.grant.topic, None)
            self.drop(subscribed)
            self._outbox.drop(str(name))
            self._outbox.put(frames.withdrawn(str(name), code, message))

    @property
    def has_rights(self) -> bool:
        """Whether a subscription depends on a right that can be withdrawn."""
        return any(each.grant.reason is Reason.RIGHT for each in self._by_name.values())

    async def check_access(self, user: Any) -> None:
        """Set the user, and end the subscriptions that the user may not have any more."""
        self.user = user
        self.access_checks += 1
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


def listed(reading: Reading) -> frames.Listed | None:
    """Return what a list topic's snapshot carries besides; None for a topic of one task."""
    return None if reading.total is None else frames.Listed(reading.total, reading.next)


def has_other_owner(granted: Grant, reading: Reading) -> bool:
    """Return whether a reading's owner is another one than that of the grant."""
    if reading.moved_to is not None:
        return granted.reason is Reason.TOKEN
    return reading.owner is not None and reading.owner != granted.owner


def _note_owner(subscribed: GrantedSubscription, reading: Reading) -> None:
    """Set the owner in a token's grant for a task that was not published when it was granted.

    The token is valid for the first owner that the task gets, and for no later one.
    """
    granted = subscribed.grant
    if granted.reason is Reason.TOKEN and granted.owner is None:
        subscribed.grant = replace(granted, owner=reading.owner)


def expires_in(granted: Grant) -> int | None:
    """Return the seconds until a grant ends by itself; None for one that does not."""
    if granted.reason is not Reason.TOKEN:
        return None
    return max(0, math.floor(granted.ends - time.time()))
