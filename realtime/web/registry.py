"""The connections of a process: how many there are, and the notifications for each."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

from realtime.conf import conf
from realtime.core.logs import get_logger

logger = get_logger("realtime.connection")

#: Connections that are notified before other tasks of the event loop have a turn.
_BATCH: Final = 200


class Connection(Protocol):
    """One client's connection. Its methods are called in its event loop."""

    #: What it is counted by, "" where that is not known.
    address: str
    #: Names its user, "" for a visitor: two users may have one owner, and a user may have none.
    user_key: str
    #: The fingerprint of its session (``sessions.session_fingerprint``), "" without a session.
    session: str
    scope: Any

    @property
    def user(self) -> Any:
        """The user as of the last check."""
        ...

    @property
    def has_rights(self) -> bool:
        """Whether it sees anything by a right that can be withdrawn."""
        ...

    def store_changed(self, available: bool) -> None:
        """Tell the client whether the store answers."""
        ...

    def restart(self) -> None:
        """End; the client connects again, since the process ends."""
        ...

    async def user_checked(self, result: Any) -> None:
        """Use a result of ``identity.check_users``: a user or a close code."""
        ...

    def sign_out(self) -> None:
        """End: the session has ended."""
        ...

    def expect_new_session_key(self) -> None:
        """Note that the session continues under a key that this connection does not have."""
        ...


class Process:
    """What the registries of all event loops of this process share: counts, and its end."""

    def __init__(self) -> None:
        #: Whether it accepts no more connections, because it is about to end.
        self.is_draining = False
        self.open = 0
        self._by_user: Counter[str] = Counter()
        self._by_address: Counter[str] = Counter()

    @property
    def is_full(self) -> bool:
        """Whether there is no room for any connection."""
        return self.open >= conf().MAX_CONNECTIONS

    def refusal(self, connection: Connection) -> str:
        """Return why there is no room for a connection; "" if there is."""
        settings, address, key = conf(), connection.address, connection.user_key
        if self.is_full:
            return "no room for more connections"
        if key and self._by_user[key] >= settings.MAX_CONNECTIONS_PER_USER:
            return f"at most {settings.MAX_CONNECTIONS_PER_USER} connections a user"
        if address and self._by_address[address] >= settings.MAX_CONNECTIONS_PER_ADDRESS:
            return f"at most {settings.MAX_CONNECTIONS_PER_ADDRESS} connections an address"
        return ""

    def add(self, connection: Connection) -> None:
        """Count a connection."""
        self.open += 1
        self._by_user[connection.user_key] += 1
        self._by_address[connection.address] += 1

    def remove(self, connection: Connection) -> None:
        """Count a connection no more, and keep nothing of it."""
        self.open -= 1
        for counter, key in (
            (self._by_user, connection.user_key),
            (self._by_address, connection.address),
        ):
            counter[key] -= 1
            if counter[key] <= 0:
                del counter[key]


process: Final = Process()


class Registry:
    """The connections of one event loop, which join it and leave it."""

    def __init__(self, process: Process = process) -> None:
        self._process = process
        self._connections: set[Connection] = set()
        self._by_user: dict[str, set[Connection]] = {}
        #: Those with a user, in the order of the access checks; with the hash of the rows at the
        #: last one, None where the next one decodes them.
        self._signed_in: dict[Connection, bytes | None] = {}
        #: Whether the store answers, as the connections were last notified.
        self.store_available = True

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._connections))

    def __contains__(self, connection: object) -> bool:
        return connection in self._connections

    def refusal(self, connection: Connection) -> str:
        """Return why a connection may not join; "" if it may."""
        return self._process.refusal(connection)

    def join(self, connection: Connection) -> None:
        """Add a connection; notify it at once if the store is away, or if the process drains."""
        self._process.add(connection)
        self._connections.add(connection)
        if connection.user_key:
            self._by_user.setdefault(connection.user_key, set()).add(connection)
            self._signed_in[connection] = None
        if not self.store_available:
            connection.store_changed(False)
        if self._process.is_draining:
            connection.restart()

    def leave(self, connection: Connection) -> None:
        """Remove a connection, if it is there."""
        if connection not in self._connections:
            return
        self._process.remove(connection)
        self._connections.remove(connection)
        if connection.user_key:
            del self._signed_in[connection]
            of_user = self._by_user[connection.user_key]
            of_user.remove(connection)
            if not of_user:
                del self._by_user[connection.user_key]

    # Access checks: a visitor has no rights to lose

    def of_user(self, user_key: str) -> Sequence[Connection]:
        """Return the connections of a user."""
        return tuple(self._by_user.get(user_key, ()))

    def signed_in(self) -> Collection[Connection]:
        """Return the connections that have a user, the one checked longest ago first."""
        return self._signed_in.keys()

    def put_last(self, connections: Iterable[Connection]) -> None:
        """Put connections last in the order of the checks."""
        for connection in connections:
            if connection in self._signed_in:
                self._signed_in[connection] = self._signed_in.pop(connection)

    def row_hash(self, connection: Connection) -> bytes | None:
        """Return the hash of the rows at the connection's last check."""
        return self._signed_in.get(connection)

    def set_row_hash(self, connection: Connection, row_hash: bytes | None) -> None:
        """Set the hash of the rows at the connection's last check."""
        if connection in self._signed_in:
            self._signed_in[connection] = row_hash

    # Notifications

    async def set_store_available(self, available: bool) -> None:
        """Notify all connections, and those that join later, that the store is away or back."""
        self.store_available = available
        for number, connection in enumerate(self, 1):
            try:
                connection.store_changed(available)
            except Exception:  # the others are notified all the same
                logger.exception("notify_failed")
            if number % _BATCH == 0:
                await asyncio.sleep(0)

    async def restart_all(self, seconds: float) -> None:
        """Restart every connection, evenly over ``seconds``; return at once if there is none.

        Spread, because the clients connect to other processes, and ask there for everything.
        """
        connections = tuple(self)
        for connection in connections:
            if connection in self._connections:
                connection.restart()
                is_last = connection is connections[-1]
                await asyncio.sleep(0 if is_last else seconds / len(connections))


_registries: WeakKeyDictionary[asyncio.AbstractEventLoop, Registry] = WeakKeyDictionary()


def get_registry() -> Registry:
    """Return the running event loop's registry."""
    return _registries.setdefault(asyncio.get_running_loop(), Registry())


def is_full() -> bool:
    """Return whether this process has no room for another connection."""
    return process.is_full
