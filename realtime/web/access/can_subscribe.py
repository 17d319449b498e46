"""Asking the project's own policy, ``REALTIME["CAN_SUBSCRIBE"]``, in threads of its own.

All questions to the database wait for one thread: a policy that takes long there would hold up
every handshake and every check of access of the process.
"""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from channels.db import DatabaseSyncToAsync
from django.utils.module_loading import import_string

from realtime.conf import conf
from realtime.core.logs import get_logger

logger = get_logger("realtime.access")

#: Calls of a synchronous policy at once; each thread may keep a connection to the database.
THREADS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What ``REALTIME["CAN_SUBSCRIBE"]`` is asked about.

    ``owner`` is whose it is: the ident of a ``user:`` topic, "" for nobody's, and None for a task
    that nobody published.
    """

    kind: str
    ident: str
    owner: str | None


async def can_subscribe(user: Any, asked: Asked) -> bool:
    """Return whether the policy lets a user see a topic; False where there is no policy.

    Also where it raises, which is logged.
    """
    path = conf().CAN_SUBSCRIBE
    if not path:
        return False
    try:
        decide = import_string(path)
        if inspect.iscoroutinefunction(decide):
            answer = await decide(user, asked)
        else:
            in_thread = DatabaseSyncToAsync(decide, thread_sensitive=False, executor=_threads())
            answer = await in_thread(user, asked)
    except Exception:
        logger.exception("can_subscribe_failed topic=%s:%s", asked.kind, asked.ident)
        return False
    return answer is True  # nothing that merely looks true


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="realtime-policy")
