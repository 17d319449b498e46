"""What a signed token grants: named topics for some minutes, to callers without a session.

``django.core.signing`` makes and reads tokens, so keys rotate by ``SECRET_KEY_FALLBACKS``.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable
from typing import Final, NamedTuple

from django.core import signing

from realtime.conf import conf
from realtime.core.frames import TOKEN_LENGTH
from realtime.core.topics import Topic
from realtime.exceptions import TokenError
from realtime.groups.layer import access_group

_SALT: Final = "realtime.token"


class Token(NamedTuple):
    """The content of a token: the topics it grants, when it was made and when it ends.

    Both times are seconds since 1970. The token does not grant a task whose owner changed after
    ``made``.
    """

    topics: frozenset[Topic]
    made: float
    ends: float


def make_token(topics: Iterable[str | Topic]) -> tuple[str, datetime.datetime]:
    """Return a token for these topics, and when it ends.

    A topic may name a task that nobody has published yet. Raises ValueError for a text that is no
    topic, and for more topics than fit into one token.
    """
    names = sorted({str(Topic.parse(str(topic))) for topic in topics})
    made = time.time()
    ends = int(made * 1000) / 1000 + conf().TOKEN_AGE
    content = {"topics": names, "made": made, "ends": ends}
    token = signing.dumps(content, salt=_salt(), compress=True)
    if len(token) > TOKEN_LENGTH:
        raise ValueError(f"these {len(names)} topics are too long for one token")
    return token, datetime.datetime.fromtimestamp(ends, datetime.UTC)


def _salt() -> str:
    """Return the salt of tokens: it contains the name of this service in Redis.

    Two projects with one SECRET_KEY may have different users with the same primary key.
    """
    return f"{_SALT}:{access_group()}"


def read_token(token: str) -> frozenset[Topic]:
    """Return the topics that a token grants. Raises TokenError for a forged or ended token."""
    return open_token(token).topics


def open_token(token: str) -> Token:
    """Return the content of a token. Raises TokenError as :func:`read_token` does."""
    try:
        content = signing.loads(token, salt=_salt())
    except signing.BadSignature:
        raise TokenError("the token is not valid") from None
    if content["ends"] < time.time():
        raise TokenError("the token is not valid any more")
    try:
        topics = frozenset(map(Topic.parse, content["topics"]))
    except ValueError:  # made by a release that has more kinds of topics
        raise TokenError("the token is not valid") from None
    return Token(topics, float(content.get("made", 0)), content["ends"])
