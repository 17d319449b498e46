"""Signed tokens: the right to see named topics for a while, for callers without a session.

Made and read by ``django.core.signing``, so keys rotate by ``SECRET_KEY_FALLBACKS``.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable
from typing import Final, NamedTuple

from django.core import signing

from realtime.conf import conf
from realtime.core.topics import Topic
from realtime.exceptions import TokenError

_SALT: Final = "realtime.token"


class Token(NamedTuple):
    """What a token says: the topics it grants, and when it ends (seconds since 1970)."""

    topics: frozenset[Topic]
    ends: float


def make_token(topics: Iterable[str | Topic]) -> tuple[str, datetime.datetime]:
    """Return a token for these topics, and when it ends.

    A topic may name a task that nobody has published yet. Raises ValueError for what is no topic.
    """
    named = sorted({str(Topic.parse(str(topic))) for topic in topics})
    ends = int(time.time()) + conf().TOKEN_AGE
    token = signing.dumps({"topics": named, "ends": ends}, salt=_SALT)
    return token, datetime.datetime.fromtimestamp(ends, datetime.UTC)


def read_token(token: str) -> frozenset[Topic]:
    """Return the topics that a token grants.

    Raises TokenError for one that is forged or over.
    """
    return open_token(token).topics


def open_token(token: str) -> Token:
    """Return all that a token says. Raises TokenError as :func:`read_token` does."""
    try:
        content = signing.loads(token, salt=_SALT)
    except signing.BadSignature:
        raise TokenError("the token is not valid") from None
    if content["ends"] < time.time():
        raise TokenError("the token is not valid any more")
    return Token(frozenset(map(Topic.parse, content["topics"])), content["ends"])
