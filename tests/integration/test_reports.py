"""Reports of a run in a row, which accept.lua accepts by a shorter way than other changes."""

import json
from importlib.resources import files
from random import Random

import pytest
import redis
from django.conf import settings
from django.test import override_settings

from realtime.core.change import Change
from realtime.store import get_store
from realtime.store.redis import RedisStore
from realtime.store.scripts import Script
from tests.integration.test_store import IN_MEMORY, happens_besides, outcome, some_changes

pytestmark = pytest.mark.integration

RUN = {"task_id": "t", "run_id": "a", "attempt": 0, "publication": "p", "owner": "1"}
#: What any other change may have in place of that.
OTHER = {
    "run_id": ["b", ""],
    "attempt": [None, 1],
    "publication": ["", "q"],
    "owner": ["", "2", "visitor-v"],
    "worker": ["w"],
    "sender": ["s"],
    "begins": [True],
    "state": ["STARTED", "SUCCESS", "STALLED"],
    "fields": [{"result": "7"}, {"progress": "1", "updated_at": "2", "later": "3"}, {}],
}


@pytest.fixture
def server(clean_redis):
    with redis.Redis.from_url(clean_redis, decode_responses=True) as client:
        yield client


def report(number, state="PROGRESS", **other):
    fields = {"progress": str(number), "updated_at": f'"at {number}"'}
    return Change(**{"state": state, "counter": number, "fields": fields, **RUN, **other})


def rows(random):
    """Changes most of which are the next report of the run."""
    yield Change(state="STARTED", begins=True, **RUN)
    for number in range(1, 30):
        change = report(number, random.choice(["PROGRESS", "PROGRESS", "LOADING"]))
        if random.random() < 0.3:
            name = random.choice(list(OTHER))
            change = change._replace(**{name: random.choice(OTHER[name])})
        if random.random() < 0.2:
            change = change._replace(counter=random.choice([None, 1, number - 1]))
        yield change
        if random.random() < 0.1:
            yield from list(some_changes(random))[:2]


def of_an_earlier_release():
    """Return a store that writes to the record, and knows nothing of rows of reports."""
    store = RedisStore()
    text = files("realtime.store").joinpath("lua", "accept.lua").read_text()
    for name in ("report", "keep_report"):
        assert f"-- include {name}.lua" in text
        text = text.replace(f"-- include {name}.lua", "")
    store._accepting = Script(text)
    return store


@pytest.mark.parametrize("seed", range(60))
async def test_memory_and_redis_agree_after_rows_of_reports(server, seed):
    random = Random(seed)
    stores = [get_store(), RedisStore(), of_an_earlier_release()]
    with override_settings(**IN_MEMORY | {"REALTIME": settings.REALTIME | IN_MEMORY["REALTIME"]}):
        in_memory = get_store()
        for change in rows(random):
            (in_redis,) = random.choices(stores, [6, 1, 1])
            besides = happens_besides(random) if random.random() < 0.3 else lambda store: None
            assert besides(in_redis) == besides(in_memory)
            found = outcome(in_redis, change)
            assert found == outcome(in_memory, change), change
            if version := found[0]:
                logged = [server.lindex(f"realtime:log:{t}", -1) for t in ("task:t", "user:1")]
                assert json.loads(logged[0])["version"] == version
                assert found[1].as_dict() == json.loads(logged[0])
                assert found[2][0] == [] or logged[1] == logged[0]


def commands_of(server, publish):
    """Return how often scripts called each command meanwhile."""
    server.config_resetstat()
    publish()
    stats = server.info("commandstats")
    others = ("evalsha", "config|resetstat", "info")
    names = [name.removeprefix("cmdstat_") for name in stats]
    return {name: stats[f"cmdstat_{name}"]["calls"] for name in sorted(names) if name not in others}


def test_the_next_report_of_a_run_costs_twelve_commands_for_two_topics(server):
    store = get_store()
    for change in (Change(state="STARTED", begins=True, **RUN), report(1)):
        assert store.accept(change)
    found = commands_of(server, lambda: store.accept(report(2)))
    assert found == {"get": 2, "hmget": 1, "hset": 1, "publish": 2, "rpush": 3, "set": 2, "time": 1}


def test_a_report_is_composed_of_what_the_last_one_kept_unless_another_change_came(server):
    store = get_store()
    for change in (Change(state="STARTED", begins=True, **RUN), report(1)):
        assert store.accept(change)
    middle = server.hget("realtime:task:t", "_middle")
    server.hset("realtime:task:t", "_middle", middle.replace('"run":1', '"run":7'))
    store.accept(report(2))
    assert json.loads(server.lindex("realtime:log:task:t", -1))["run"] == 7
    assert store.accept(Change(task_id="t", fields={"cancelling": "true"}))
    store.accept(report(3))
    last = json.loads(server.lindex("realtime:log:task:t", -1))
    assert (last["run"], last["cancelling"]) == (1, True)


def test_a_record_that_has_ended_keeps_no_status_for_reports(server):
    store = get_store()
    for change in (Change(state="STARTED", begins=True, **RUN), report(1), report(2)):
        assert store.accept(change)
    kept = ("_report", "_before", "_middle", "_after")
    assert all(server.hmget("realtime:task:t", kept))
    assert store.accept(Change(state="SUCCESS", **RUN))
    assert not any(server.hmget("realtime:task:t", kept))


def test_a_report_keeps_the_keys_of_a_later_release(server):
    store = get_store()
    assert store.accept(Change(state="STARTED", begins=True, fields={"later": '"x"'}, **RUN))
    for number in (1, 2, 3):
        assert store.accept(report(number))
    status = store.status("t")
    assert (status.progress, status.extra) == (3, {"later": "x"})
