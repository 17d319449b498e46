"""Error and close codes. The close codes' ranges carry the policy, so clients need no list."""

from __future__ import annotations

import enum


class ErrorCode(enum.StrEnum):
    """The ``code`` of an error frame and of an HTTP error."""

    BAD_REQUEST = "bad_request"  #: not a frame of the protocol; the message has the details
    NOT_FOUND = "not_found"  #: no such task, or the client may not see it: the same answer for both
    UNAUTHORIZED = "unauthorized"  #: a signed-in user or a valid token is needed
    FORBIDDEN = "forbidden"  #: the right to see a topic was withdrawn while subscribed
    LIMIT = "limit"  #: too many subscriptions, connections or requests
    TOO_LARGE = "too_large"  #: the frame is over ``limits.frame_bytes``
    INTERNAL = "internal"  #: the service failed, and has logged it under the given reference


class CloseCode(enum.IntEnum):
    """Why the service closes a connection (RFC 6455, section 7.4).

    After 4000-4499 and 1001, 1006, 1011, 1012, 1013 the client reconnects; after 4500-4999 and 1000
    it does not.
    """

    INTERNAL = 1011  #: a frame could not be sent
    RESTART = 1012  #: the server restarts
    FULL = 1013  #: too many connections
    IDLE = 4000  #: the client did not subscribe in time
    SLOW = 4001  #: the client read nothing for too long
    SESSION_EXPIRED = 4002  #: the session expired: sign in again
    BAD_REQUESTS = 4500  #: too many bad requests
    SIGNED_OUT = 4501  #: signed out, another password, or a deactivated user
    RATE = 4503  #: too many frames, or too many refused requests
    TOO_LARGE = 4509  #: a frame that is too large

    @property
    def reconnect(self) -> bool:
        """Whether the client reconnects."""
        return self < 4500
