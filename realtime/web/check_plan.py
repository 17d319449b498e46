"""Which heads a regular check compares with the store's; without I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from typing import Final, NamedTuple

from realtime.core.position import Head
from realtime.store.recent import Place, Recent

#: Each topic is compared once in so many checks, whatever the store lists. Redis may have dropped
#: a head for want of memory, or somebody restored one: neither is listed.
EVERY: Final = 10
#: Checks that compare all heads after an event that the store did not list: a process of a release
#: before the recent heads published it. Ten minutes, as an update may take.
UNLISTED_CHECKS: Final = 120


class Plan(NamedTuple):
    """What one check compares."""

    #: Heads of watched topics that the store listed.
    listed: Mapping[str, Head]
    #: Topics whose heads are to be read.
    names: Collection[str]
    #: Those of them of which an event arrived that the store did not list.
    unlisted: Set[str]


class CheckPlan:
    """The plans of one hub's regular checks, one after the other."""

    def __init__(self) -> None:
        #: The place in the store's recent heads up to which all is known.
        self.place: Place | None = None
        self._number = 0
        #: Topics of which events came as messages since the last check.
        self._received: set[str] = set()
        #: The topics that the last check found listed; None where it did not know them.
        self._listed_before: Set[str] | None = None
        self._all_until = 0

    def note_event(self, topic: str) -> None:
        """Note a new event that came as a message: the store has listed its head before."""
        self._received.add(topic)

    def begin(self) -> Set[str]:
        """Begin a check, before the store is called; return the topics of the events since."""
        self._number += 1
        received, self._received = self._received, set()
        return received

    def make(self, watched: Collection[str], received: Set[str], recent: Recent) -> Plan:
        """Return what to compare: heads that changed, and each of the others now and then.

        All heads are compared where the store does not know what changed.
        """
        if recent.heads is None:
            return Plan({}, watched, frozenset())
        listed = {name: head for name, head in recent.heads.items() if name in watched}
        # An event arrived that is not listed: it was forged, the store lost it, a process of an
        # earlier release published it, or the last check found it listed.
        missing = {name for name in received if name in watched and name not in listed}
        unlisted = missing.difference(self._listed_before or ())
        if self._number <= self._all_until:
            return Plan(listed, watched, unlisted)
        rest = self._number % EVERY
        return Plan(listed, missing | {n for n in watched if hash(n) % EVERY == rest}, unlisted)

    def end(self, plan: Plan, recent: Recent, different: Set[str]) -> None:
        """End a check that has found some heads different from the store's."""
        # Without the last check's list, an event may have been listed there.
        if self._listed_before is not None and plan.unlisted - different:
            self._all_until = self._number + UNLISTED_CHECKS
        self.place = recent.place
        self._listed_before = None if recent.heads is None else plan.listed.keys()
