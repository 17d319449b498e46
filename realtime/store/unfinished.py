"""Read from Redis which tasks have not ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, cast

from realtime.core.change import Dependent
from realtime.core.chunks import chunks
from realtime.core.states import RECEIVED, STALLED, TERMINAL_RANK

from .connection import Client
from .keys import Keys
from .reading import Running, Waiting

#: Records in one pipeline, or heads in one command.
CHUNK: Final = 500
#: Ids in one command.
_IDS: Final = 10_000

#: Fields that are read of waiting tasks, and of running ones.
_WAITS: Final = ("state", "_publication", "_lives", "published_at")
_RUNNING: Final = (*_WAITS, "run", "_run_id", "_redelivery_timeout", "_dependents", "_worker")
#: The state of a task that a worker has received and not started.
_RECEIVED: Final = f'"{RECEIVED}"'
_STALLED: Final = f'"{STALLED}"'
#: A record that was read before is read again at least once in this number of calls.
_TURNS: Final = 60


class Unfinished:
    """The sets of running and waiting tasks, and the records of those."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        #: The worker and the run of tasks whose worker is alive or unknown, by id and time. Without
        #: the run for tasks that were received and not started.
        self._known: dict[tuple[str, float], tuple[str, Running | None]] = {}
        self._turn = 0

    def running(self, *, received: bool = True) -> list[Running]:
        """Do what :meth:`Store.running` promises."""
        members = self._members(self._keys.running)
        with self._client.use() as client:
            seconds, microseconds = client.time()
        now = seconds + microseconds / 1e6
        # A task gets another time when a run starts or stalls, so the run of one with the same time
        # is still the same. (Its record is read again in turn all the same: records expire.)
        known, self._turn = {} if received else self._known, (self._turn + 1) % _TURNS
        alive = {"", *self._alive({worker for worker, _ in known.values() if worker})}
        self._known = {
            member: known[member]
            for member in members
            if member in known and known[member][0] in alive and hash(member) % _TURNS != self._turn
        }
        found = [run for _, run in self._known.values() if run is not None]
        unread = [member for member in members if member not in self._known]
        for chunk in chunks(unread, CHUNK):
            records = self.records([task_id for task_id, _ in chunk], _RUNNING, self._keys.running)
            alive = self._alive({worker for *_, worker in records.values() if worker})
            for task_id, since in chunk:
                if task_id not in records:
                    continue
                state, publication, lives, published, *more = records[task_id]
                run, run_id, redelivery_timeout, dependents, worker = more
                if state == _RECEIVED and worker in alive:
                    self._known[task_id, since] = worker, None
                    if not received:
                        continue
                read = Running(
                    task_id,
                    json.loads(state),
                    int(run),
                    run_id or "",
                    not worker or worker in alive,
                    now - since,
                    int(redelivery_timeout or 0),
                    publication or "",
                    _republished(lives),
                    json.loads(published) if published else None,
                    _dependents(dependents),
                )
                found.append(read)
                if read.alive and state not in (_RECEIVED, _STALLED):
                    self._known[task_id, since] = worker or "", read
        return found

    def running_ids(self) -> list[str]:
        """Return their ids."""
        return self._pages(self._keys.running)

    def waiting(self, limit: int) -> list[Waiting]:
        """Do what :meth:`Store.waiting` promises."""
        key = self._keys.waiting
        with self._client.use() as client:
            task_ids = cast(list[str], client.zrange(key, 0, limit - 1))
            if task_ids:
                now = int(client.time()[0])
                client.zadd(key, dict.fromkeys(task_ids, now), xx=True)
        return self.of(task_ids, of_set=key)

    def waiting_ids(self) -> list[str]:
        """Return their ids."""
        return self._pages(self._keys.waiting)

    def _members(self, key: str) -> list[tuple[str, float]]:
        """Return a set's members with their times, oldest first."""
        return self._pages(key, withscores=True)

    def _pages(self, key: str, **options: Any) -> list[Any]:
        """Return a set's members, oldest first."""
        found: list[Any] = []
        with self._client.use() as client:
            # In pages: Redis serves no other client meanwhile. As the set changes, an id may come
            # twice, or be missing until the next call.
            while page := client.zrange(key, len(found), len(found) + _IDS - 1, **options):
                found += cast(list[Any], page)
        return found

    def of(self, task_ids: Sequence[str], of_set: str = "") -> list[Waiting]:
        """Return those that have not ended; remove expired ones from the given set."""
        found = []
        for chunk in chunks(task_ids, CHUNK):
            for task_id, record in self.records(chunk, (*_WAITS, "_rank"), of_set).items():
                state, publication, lives, published, ranked = record
                if int(ranked) != TERMINAL_RANK:
                    found.append(
                        Waiting(
                            task_id,
                            json.loads(state),
                            publication or "",
                            _republished(lives),
                            json.loads(published or "null"),
                        )
                    )
        return found

    def records(
        self, task_ids: Sequence[str], fields: Sequence[str], of_set: str = ""
    ) -> dict[str, list[Any]]:
        """Return fields of each record, `state` first; remove expired ones from the given set."""
        replies = self._client.read(
            [("HMGET", self._keys.record(task_id), *fields) for task_id in task_ids]
        )
        records = dict(zip(task_ids, replies, strict=True))
        gone = [task_id for task_id, (state, *_) in records.items() if state is None]
        if gone and of_set:
            with self._client.use() as client:
                client.zrem(of_set, *gone)
        for task_id in gone:
            del records[task_id]
        return records

    def _alive(self, workers: set[str]) -> set[str]:
        with self._client.use() as client:
            pipeline = client.pipeline(transaction=False)
            for worker in workers:
                pipeline.exists(self._keys.lease(worker))
            return {w for w, valid in zip(workers, pipeline.execute(), strict=True) if valid}


def _dependents(text: str | None) -> tuple[Dependent, ...]:
    return tuple(Dependent(*each) for each in json.loads(text)) if text else ()


def _republished(lives: str | None) -> bool:
    return int(lives or 0) > 0
