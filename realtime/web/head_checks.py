"""Comparing the heads of watched topics with the store's: a message may have been lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from contextlib import suppress
from typing import Final

from realtime.conf import conf
from realtime.core.chunks import chunks
from realtime.core.position import Head
from realtime.store.base import Store
from realtime.store.recent import Recent

from .check_plan import CheckPlan
from .watched_topic import WatchedTopic

#: One of so many regular checks removes expired tasks from lists first.
EXPIRE_EVERY: Final = 12
#: Heads that are read in one call.
_BATCH: Final = 1000
#: Seconds between two calls of a store that does not answer.
_PAUSE: Final = 0.5


class HeadChecks:
    """One hub's checks."""

    def __init__(
        self,
        store: Store,
        watched: Mapping[str, WatchedTopic],
        *,
        on_different: Callable[[WatchedTopic], None],
        on_answer: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._store = store
        self._watched = watched
        self._on_different = on_different
        self._on_answer = on_answer
        self._on_failure = on_failure
        self._plan = CheckPlan()

    def note_event(self, topic: str) -> None:
        """Note a topic of which a new event came as a message."""
        self._plan.note_event(topic)

    async def run(self) -> None:
        """Check what changed, about every ``CHECK_INTERVAL`` seconds."""
        self._plan = CheckPlan()
        number = 0
        while True:
            pause = conf().CHECK_INTERVAL * random.uniform(0.8, 1.2)  # noqa: S311
            await asyncio.sleep(pause)
            number += 1
            if number % EXPIRE_EVERY == 0:
                lists = [name for name, each in self._watched.items() if each.topic.has_list]
                with suppress(Exception):  # the check below logs what is wrong with the store
                    await self._store.expire(lists)
            await self.check_changed()

    async def check_changed(self) -> None:
        """Compare the heads that were set since the last check, and some of the others."""
        plan = self._plan
        known = {name: each.head for name, each in self._watched.items()}
        received = plan.begin()
        try:
            recent = await self._store.heads_since(plan.place, len(known))
        except Exception as error:  # noqa: BLE001 - stores fail in many ways
            self._on_failure(error)
            recent = Recent(plan.place, None)
        else:
            self._on_answer()
        made = plan.make(known.keys(), received, recent)
        different = {name for name, head in made.listed.items() if self._differs(name, known, head)}
        different |= await self.check(made.names)
        plan.end(made, recent, different)

    async def check(self, names: Collection[str]) -> Set[str]:
        """Compare heads with the store's, and return the topics whose heads differed."""
        different = set[str]()
        for some in chunks(list(names), _BATCH):
            different |= await self._check_batch(some)
        return different

    async def _check_batch(self, names: Sequence[str]) -> Set[str]:
        while names := [name for name in names if name in self._watched]:
            known = {name: self._watched[name].head for name in names}
            try:
                heads = await self._store.heads(names)
            except Exception as error:  # noqa: BLE001 - stores fail in many ways
                self._on_failure(error)
                # Messages may have been lost meanwhile: check again as soon as it answers.
                await asyncio.sleep(_PAUSE)
                continue
            self._on_answer()
            found = zip(names, heads, strict=True)
            return {name for name, head in found if self._differs(name, known, head)}
        return set()

    def _differs(self, name: str, known: Mapping[str, Head | None], head: Head | None) -> bool:
        """Compare a topic's head with the store's; ``known`` has it as of the call."""
        watched = self._watched.get(name)
        if watched is None or not watched.differs(known[name], head):
            return False
        self._on_different(watched)
        return True
