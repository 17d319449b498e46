"""One suite over every store, and the format of the script's messages to the layer."""

import asyncio
import copy
import dataclasses
import json
from importlib.metadata import version as installed
from pathlib import Path
from random import Random

import pytest
import redis
import redis.asyncio
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings
from django.test import override_settings
from redis.asyncio.connection import parse_url as async_parse_url
from redis.connection import parse_url as sync_parse_url

from realtime.conf import conf, redis_address
from realtime.core.change import Change, Dependent
from realtime.core.position import Head, Position, next_digest
from realtime.core.states import PENDING, RECEIVED, RETRY, STALLED, STARTED, TERMINAL
from realtime.core.status import FIELDS
from realtime.core.topics import Topic
from realtime.groups import layer as layer_module
from realtime.groups.layer import from_message, get_layer, group_of, group_prefix
from realtime.groups.receiver import with_receiver
from realtime.store import get_store
from realtime.store import redis as redis_module
from tests.client.protocol import DEADLINE
from tests.until import auntil, until

CASES = json.loads((Path(__file__).parents[1] / "cases" / "acceptance.json").read_text())

STATES = (PENDING, RECEIVED, STARTED, STALLED, RETRY, *sorted(TERMINAL))

IN_MEMORY = {
    "REALTIME": {"STORE": "realtime.store.memory.MemoryStore"},
    "CHANNEL_LAYERS": {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
}


@pytest.fixture(params=["memory", "redis"])
def store(request):
    if request.param == "redis":
        request.getfixturevalue("clean_redis")
        yield get_store()
    else:
        with override_settings(**IN_MEMORY):
            yield get_store()


async def accept(store, **change):
    return await sync_to_async(store.accept)(Change(**change))


def some_life(task_id, owner=""):
    return [
        Change(task_id=task_id, state="PENDING", attempt=0, owner=owner),
        Change(task_id=task_id, state="STARTED", attempt=0, run_id="a", begins=True),
        Change(task_id=task_id, state="SUCCESS", attempt=0, run_id="a", fields={"result": "42"}),
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_accept_follows_the_table(store, case):
    for row in case["changes"]:
        words = {key: value for key, value in row.items() if key != "version"}
        assert store.accept(Change(task_id="t", **words)) == row["version"], row
    status = store.status("t")
    assert {key: getattr(status, key) for key in case["ends"]} == case["ends"]


def some_changes(random):
    """Changes of one task in any order, also in impossible ones."""
    for _ in range(random.randint(2, 14)):
        state = random.choice([*STATES, "LOADING", ""])
        yield Change(
            task_id="t",
            state=state,
            attempt=random.choice([None, 0, 0, 1]),
            run_id=random.choice(["", "", "a", "b", "c"]),
            begins=random.random() < 0.4,
            counter=random.choice([None, 1, 2, 3]),
            stored=random.random() < 0.1,
            sender=random.choice(["", "s", "t"]),
            publication=random.choice(["", "p", "p", "q", "r"]),
            owner=random.choice(["", "1", "1", "2", "visitor-v"]),
            worker=random.choice(["", "w", "v"]),
            dependents=random.choice([(), (Dependent("f", "tasks.f"),)]),
            fields={"result": str(random.randint(0, 9))},
        )


def outcome(store, change):
    """The effect of a change on all stored data."""
    version, status = store.accept(change), store.status("t")
    topics = ("1", "2", "visitor-v", "3")
    lists = [[each.task_id for each in store.statuses(Topic("user", t))] for t in topics]
    running = [dataclasses.replace(run, seconds=0.0) for run in store.running()]
    waiting = store.unfinished(store.waiting_ids())
    return version, status, lists, running, waiting


def happens_besides(random):
    """Pick another call of the store, now and then."""
    return random.choices(
        [
            lambda store: None,
            lambda store: store.forget("t"),
            lambda store: store.withdraw("t", "p"),
            lambda store: store.adopt("visitor-v", "3"),
            lambda store: store.forget_owner("1"),
        ],
        [80, 7, 5, 5, 3],
    )[0]


@pytest.mark.parametrize("seed", range(60))
async def test_memory_and_redis_agree_after_any_changes(clean_redis, seed):
    random, in_redis = Random(seed), get_store()
    with override_settings(**IN_MEMORY | {"REALTIME": settings.REALTIME | IN_MEMORY["REALTIME"]}):
        in_memory = get_store()
        for change in some_changes(random):
            ask = happens_besides(random)
            assert ask(in_redis) == ask(in_memory)
            assert outcome(in_redis, change) == outcome(in_memory, change), change
            owned = [await store.ownership("t") for store in (in_redis, in_memory)]
            ownerships = [each and (each.owner, each.since > 0) for each in owned]
            assert ownerships[0] == ownerships[1], change
    await in_redis.close()


def test_a_status_has_every_key_in_order_and_keeps_fields_that_a_change_omits(store):
    store.accept(Change(task_id="t", state="PENDING", fields={"name": '"tasks.add"'}))
    store.accept(Change(task_id="t", state="RECEIVED", fields={"eta": '"soon"'}))
    status = store.status("t")
    assert tuple(status.as_dict()) == FIELDS
    assert (status.task_id, status.name, status.eta) == ("t", "tasks.add", "soon")
    assert (status.version, status.run, status.attempt) == (2, 1, 0)
    assert (status.result, status.truncated, status.cancelling) == (None, False, False)


def test_a_status_can_be_read_for_its_owner_only(store):
    for task_id, owner in (("t", "1"), ("nobodys", "")):
        store.accept(Change(task_id=task_id, state="PENDING", attempt=0, owner=owner))
    assert store.status("t", owner="1") == store.status("t") is not None
    assert store.status("t", owner="2") is None
    assert store.status("nobodys", owner="1") is None
    assert store.status("unknown", owner="1") is None


def test_an_id_that_nobody_published_has_no_status(store):
    assert store.status("nobody") is None
    assert store.statuses(Topic("user", "nobody")) == []


def test_a_users_tasks_are_kept_newest_first_and_only_so_many(store):
    with override_settings(REALTIME={**settings.REALTIME, "MAX_LIST_TASKS": 3}):
        store = get_store()
        for number in range(5):
            store.accept(Change(task_id=f"t{number}", state="PENDING", owner="42"))
        store.accept(Change(task_id="t3", state="STARTED", run_id="a", begins=True))
        found = store.statuses(Topic("user", "42"))
    assert [(status.task_id, status.state) for status in found] == [
        ("t4", "PENDING"),
        ("t3", "STARTED"),
        ("t2", "PENDING"),
    ]


def test_the_owner_is_stored_with_the_first_change_that_names_it(store):
    store.accept(Change(task_id="t", state="RECEIVED"))
    assert store.statuses(Topic("user", "42")) == []
    store.accept(Change(task_id="t", state="STARTED", run_id="a", begins=True, owner="42"))
    store.accept(Change(task_id="t", state="SUCCESS", run_id="a", owner="43"))
    assert [status.state for status in store.statuses(Topic("user", "42"))] == ["SUCCESS"]
    assert store.statuses(Topic("user", "43")) == []


async def test_owner_distinguishes_another_owner_from_none_and_from_no_record(store):
    await accept(store, task_id="mine", state="PENDING", owner="42")
    await accept(store, task_id="nobodys", state="PENDING")
    assert await store.ownership("mine") == ("42", 0)
    assert await store.ownership("nobodys") == ("", 0)
    assert await store.ownership("none") is None
    await store.close()


async def test_a_users_tasks_are_read_in_pages_that_stay_where_they_are(store):
    topic = Topic("user", "42")
    for number in range(7):
        await accept(store, task_id=f"t{number}", state="PENDING", owner="42")
    reading = await store.read(topic, limit=3)
    assert reading.total == 7
    assert [json.loads(text)["task_id"] for text in reading.texts] == ["t6", "t5", "t4"]
    await accept(store, task_id="new", state="PENDING", owner="42")
    assert await sync_to_async(store.forget)("t4")
    page = await store.page(topic, reading.next, 3)
    assert [json.loads(text)["task_id"] for text in page.texts] == ["t3", "t2", "t1"]
    last = await store.page(topic, page.next, 3)
    assert [json.loads(text)["task_id"] for text in last.texts] == ["t0"]
    assert (last.total, last.next) == (7, None)
    # What is recovered is no page, but the number of tasks goes with it.
    whole = await store.read(topic, (await store.read(topic)).position)
    assert (whole.recovered, list(whole.texts), whole.total, whole.next) == (True, [], 7, None)
    assert (await store.read(Topic("task", "t0"))).total is None
    with pytest.raises(ValueError, match="after"):
        await store.page(topic, "x", 3)
    await store.close()


def test_many_changes_are_sent_in_one_go_and_in_their_order(store):
    changes = some_life("t", owner="42") + some_life("u")
    assert list(store.send_all([*changes, changes[-1]])()) == [1, 2, 3, 1, 2, 3, 0]


def test_changes_of_one_task_keep_their_order_if_only_some_of_them_name_its_owner(store):
    published, started, ended = some_life("t", owner="42")
    changes = [published, started, ended._replace(owner="42"), *some_life("u")]
    assert list(store.send_all(changes)()) == [1, 2, 3, 1, 2, 3]
    assert store.status("t").state == "SUCCESS"
    assert list(store.send_all([])()) == []


def test_an_error_in_a_batch_does_not_keep_the_changes_back_that_need_a_second_call(clean_redis):
    store = get_store()
    assert store.accept(Change(task_id="u", state="PENDING", owner="42")) == 1
    later = [
        Change(task_id="u", state=state, run_id="a", begins=True)
        for state in ("STARTED", "SUCCESS")
    ]
    with redis.Redis.from_url(clean_redis) as client:
        client.set("realtime:task:t", "no hash")
        with pytest.raises(redis.exceptions.ResponseError, match="WRONGTYPE"):
            store.send_all([Change(task_id="t", state="PENDING"), *later])()
    assert (store.status("u").state, store.status("u").version) == ("SUCCESS", 3)


def test_after_a_refused_change_of_a_batch_the_tasks_next_ones_are_not_sent(
    clean_redis, monkeypatch
):
    store = get_store()
    send = store._impatient.send
    refusal = redis.exceptions.ReadOnlyError("You can't write against a read only replica.")

    def refuse(script, calls):
        monkeypatch.setattr(store._impatient, "send", send)
        return lambda: [refusal for _ in calls]

    monkeypatch.setattr(store._impatient, "send", refuse)
    of_t, of_u = some_life("t"), some_life("u")
    batch = [of_t[0], of_t[1], *of_u, of_t[2]]
    with pytest.raises(redis.exceptions.ReadOnlyError):
        store.send_all(batch)()
    assert store.status("t") is None
    assert store.status("u").state == "SUCCESS"
    assert list(store.send_all(batch)()) == [1, 2, 0, 0, 0, 3]


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.accept(Change(task_id="t", state="SUCCESS", publication="p")),
        lambda store: store.forget("t"),
    ],
    ids=["accept", "forget"],
)
def test_a_task_that_has_another_owner_at_each_call_is_given_up_for_now(
    clean_redis, monkeypatch, call
):
    store, other, calls = get_store(), redis_module.RedisStore(), []

    def ending(name):
        return Change(task_id="t", state="SUCCESS", publication=name, owner=name)

    class Moving:
        """A script that calls the real one after the task came to another owner."""

        def __init__(self, script):
            self._script = script

        def __getattr__(self, name):
            if name in ("sha", "call"):
                calls.append(name)
                assert other.accept(ending(f"owner{len(calls)}"))
            return getattr(self._script, name)

    assert other.accept(ending("owner"))
    monkeypatch.setattr(store, "_accepting", Moving(store._accepting))
    monkeypatch.setattr(store, "_forgetting", Moving(store._forgetting))
    with pytest.raises(redis.exceptions.WatchError, match="'t' had another owner"):
        call(store)
    assert len(calls) == 1 + redis_module._MAX_REPEATS
    monkeypatch.undo()
    assert store.forget("t")


def test_a_change_that_names_its_owner_is_one_call_to_redis_and_one_without_is_two(clean_redis):
    store = get_store()
    owned = [change._replace(owner="42") for change in some_life("t")[:2]]
    ordinary = [*owned, *some_life("u")[:2]]
    without_owner = Change(task_id="t", state="PROGRESS", counter=1, sender="s")
    claims = Change(task_id="u", state="PROGRESS", run_id="a", counter=1, owner="43")
    with redis.Redis.from_url(clean_redis) as client:

        def calls(*changes):
            before = client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
            assert all(store.send_all(changes)())
            return client.info("commandstats")["cmdstat_evalsha"]["calls"] - before

        assert store.accept(Change(task_id="first", state="PENDING"))  # Redis has the script
        assert calls(*ordinary) == len(ordinary)
        assert calls(claims) == 1
        assert calls(without_owner) == 2
        assert calls(without_owner._replace(counter=2)) == 1, "the process remembers the owner"
        assert [each.task_id for each in store.statuses(Topic("user", "42"))] == ["t"]


async def test_tasks_that_come_while_a_page_is_read_are_in_it(clean_redis, monkeypatch):
    store = get_store()
    for number in range(3):
        await accept(store, task_id=f"t{number}", state="PENDING", owner="42")
    real, late = store._reader._script, iter(["late", "later"])

    class Reading:
        """Calls the script after another task came, as long as there are any."""

        def __getattr__(self, name):
            if task_id := next(late, ""):
                store.accept(Change(task_id=task_id, state="PENDING", owner="42"))
            return getattr(real, name)

    monkeypatch.setattr(store._reader, "_script", Reading())
    reading = await store.read(Topic("user", "42"), limit=4)
    found = [json.loads(text)["task_id"] for text in reading.texts]
    assert (found, reading.total) == (["later", "late", "t2", "t1"], 5)
    await store.close()


async def test_a_list_to_which_a_task_comes_before_each_call_is_read_in_two(
    clean_redis, monkeypatch
):
    store, ids, calls = get_store(), (f'new "{number}"/' for number in range(20)), []
    for number in range(3):
        await accept(store, task_id=f"t{number}", state="PENDING", owner="42")
    await store.read(Topic("user", "42"))  # Redis has the script
    real = store._reader._script

    class Reading:
        """Calls the script after another task came and changed."""

        def __getattr__(self, name):
            calls.append(name)
            task_id = next(ids)
            store.accept(Change(task_id=task_id, state="PENDING", owner="42"))
            store.accept(Change(task_id=task_id, state="RECEIVED", owner="42"))
            return getattr(real, name)

    monkeypatch.setattr(store._reader, "_script", Reading())
    reading = await store.read(Topic("user", "42"), limit=4)
    assert calls == ["sha", "sha"]
    monkeypatch.undo()
    assert list(reading.texts) == (await store.read(Topic("user", "42"), limit=4)).texts
    assert (json.loads(reading.texts[0])["state"], reading.total) == ("RECEIVED", 5)
    assert (await store.heads(["user:42"])) == [reading.head]
    await store.close()


async def test_a_list_of_many_expired_tasks_is_read_by_calls_of_a_bounded_size(
    clean_redis, monkeypatch
):
    store, sizes = get_store(), []
    with redis.Redis.from_url(clean_redis) as client:
        client.zadd("realtime:expiry:user:42", {f"gone{number}": 1 for number in range(3500)})
        for number in range(3):
            await accept(store, task_id=f"t{number}", state="PENDING", owner="42")
        asyncs = store._async()
        real = asyncs.call

        async def call(script, keys, args, **options):
            sizes.append(len(keys))
            return await real(script, keys, args, **options)

        monkeypatch.setattr(asyncs, "call", call)
        reading = await store.read(Topic("user", "42"))
        found = [json.loads(text)["task_id"] for text in reading.texts]
        assert (found, reading.total) == (["t2", "t1", "t0"], 3)
        assert max(sizes) < 2000
        assert client.zcard("realtime:expiry:user:42") == 3
    await store.close()


async def test_equal_readings_of_a_list_at_once_are_one_and_later_ones_are_newer(clean_redis):
    store, topic = get_store(), Topic("user", "42")
    await accept(store, task_id="t0", state="PENDING", owner="42")
    first = await store.read(topic)
    with redis.Redis.from_url(clean_redis) as client:
        client.config_resetstat()
        same = [store.read(topic, first.position) for _ in range(20)]
        others = [store.read(topic, limit=1), store.read(topic), store.read(Topic("user", "43"))]
        readings = await asyncio.gather(*same, *others)
        calls = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    # A list whose tasks are to be read takes two.
    assert calls == 1 + 2 + 2 + 1
    assert {(each.recovered, each.head) for each in readings[:20]} == {(True, first.head)}
    assert [len(each.texts) for each in readings[20:]] == [1, 1, 0]
    await accept(store, task_id="t1", state="PENDING", owner="42")
    assert len((await store.read(topic)).texts) == 2
    await store.close()


async def test_a_forgotten_task_that_is_published_again_begins_its_topic_anew(store):
    topic = Topic("task", "t")
    await accept(store, task_id="t", state="PENDING", publication="p", owner="1")
    assert await sync_to_async(store.forget)("t")
    forgotten = (await store.read(topic)).position
    await accept(store, task_id="t", state="PENDING", publication="q", owner="2")
    reading = await store.read(topic, forgotten)
    assert not reading.recovered
    assert (reading.owner, reading.position.offset) == ("2", 1)
    await store.close()


def test_forgetting_an_owner_leaves_a_task_whose_id_is_nobodys_now(clean_redis):
    store = get_store()
    store.accept(Change(task_id="t", state="PENDING", owner="42"))
    with redis.Redis.from_url(clean_redis) as client:
        client.delete("realtime:task:t")  # its record expired, and nobody read the list since
    store.accept(Change(task_id="t", state="PENDING", publication="p"))
    assert store.forget_owner("42") == 0
    assert store.status("t").state == "PENDING"
    assert store.forget("t")


def test_a_batch_of_more_tasks_than_owners_are_remembered_keeps_its_order(clean_redis, monkeypatch):
    monkeypatch.setattr(redis_module, "_OWNERS", 3)
    store = get_store()
    store.adopt("visitor-v", "42")
    changes = [
        Change(task_id=f"t{number}", state="PENDING", publication="p", owner="visitor-v")
        for number in range(8)
    ]
    assert list(store.send_all(changes)()) == [1] * 8
    listed = [each.task_id for each in store.statuses(Topic("user", "42"))]
    assert listed == [change.task_id for change in reversed(changes)]


def test_a_change_among_many_that_redis_refuses_is_raised_and_the_others_are_kept(clean_redis):
    store = get_store()
    with redis.Redis.from_url(clean_redis) as client:
        client.set("realtime:task:u", "no hash")
        changes = [Change(task_id=task_id, state="PENDING") for task_id in "tuv"]
        with pytest.raises(redis.exceptions.ResponseError):
            store.send_all(changes)()
        client.script_flush()
        client.delete("realtime:task:u")
    assert store.send_all(changes)() == [0, 1, 0]


def test_only_a_task_that_was_only_published_is_withdrawn(store):
    origin = {"publication": "p", "owner": "42"}
    for task_id in ("waits", "runs"):
        store.accept(Change(task_id=task_id, state="PENDING", **origin))
    store.accept(Change(task_id="runs", state="STARTED", run_id="a", begins=True, **origin))
    assert not store.withdraw("waits", "q")
    assert not store.withdraw("runs", "p")
    assert not store.withdraw("none", "p")
    assert store.withdraw("waits", "p")
    assert store.status("waits") is None
    assert [status.task_id for status in store.statuses(Topic("user", "42"))] == ["runs"]
    assert store.accept(Change(task_id="waits", state="PENDING", **origin)) == 1


def test_dependents_of_a_run_are_stored_with_it(store):
    dependents = (Dependent("next", "tasks.next"), Dependent("body", ""))
    run = {"task_id": "t", "run_id": "a", "worker": "w", "redelivery_timeout": 7}
    store.accept(Change(state="STARTED", begins=True, dependents=dependents, **run))
    store.accept(Change(task_id="t", state="PROGRESS", run_id="a", counter=1))
    (found,) = store.running()
    assert (found.dependents, found.redelivery_timeout, found.alive) == (dependents, 7, False)


def test_a_received_task_that_runs_gets_another_time(clean_redis):
    store, held = get_store(), {"task_id": "t", "worker": "w"}
    with redis.Redis.from_url(clean_redis) as client:
        store.accept(Change(state="RECEIVED", **held))
        received = client.zscore("realtime:running", "t")
        store.accept(Change(state="STARTED", run_id="a", begins=True, **held))
        assert client.zscore("realtime:running", "t") > received


def test_each_run_of_a_task_gets_a_time_of_its_own(clean_redis):
    store = get_store()
    with redis.Redis.from_url(clean_redis) as client:
        store.accept(Change(task_id="t", state="STARTED", run_id="a", begins=True, worker="w"))
        first = client.zscore("realtime:running", "t")
        store.accept(Change(task_id="t", state="PROGRESS", run_id="a", counter=1))
        assert client.zscore("realtime:running", "t") == first
        store.accept(Change(task_id="t", state="STARTED", run_id="b", begins=True, worker="v"))
        assert client.zscore("realtime:running", "t") > first


def test_a_running_task_is_read_again_when_its_worker_is_gone_or_another_run_begins(store):
    def reports():
        (found,) = store.running(received=False)
        return found.run, found.run_id, found.state, found.alive

    store.renew_lease("w", 60)
    store.accept(Change(task_id="t", state="STARTED", run_id="a", begins=True, worker="w"))
    for _ in range(2):
        assert reports() == (1, "a", "STARTED", True)
    store.accept(Change(task_id="t", state="STARTED", run_id="b", begins=True, worker="v"))
    assert reports() == (2, "b", "STARTED", False), "its worker has no lease"
    store.renew_lease("v", 60)
    for _ in range(2):
        assert reports() == (2, "b", "STARTED", True)
    store.end_lease("v")
    assert reports() == (2, "b", "STARTED", False)
    store.accept(Change(task_id="t", state="STALLED", run_id="b"))
    store.renew_lease("v", 60)
    for _ in range(2):
        assert reports() == (2, "b", "STALLED", True)
    store.accept(Change(task_id="t", state="SUCCESS", run_id="b"))
    assert store.running(received=False) == []


async def test_reading_since_a_position_gives_every_missed_event_or_the_snapshot(store):
    topic = Topic("task", "t")
    start = (await store.read(topic)).position
    assert start.offset == 0
    for change in some_life("t"):
        await sync_to_async(store.accept)(change)
    whole = await store.read(topic, start)
    assert whole.recovered
    assert whole.position == Position(start.epoch, 3)
    assert [json.loads(text)["state"] for text in whole.texts] == ["PENDING", "STARTED", "SUCCESS"]
    part = await store.read(topic, Position(start.epoch, 2))
    assert [json.loads(text)["version"] for text in part.texts] == [3]
    none = await store.read(topic, Position(start.epoch, 3))
    assert (none.recovered, list(none.texts)) == (True, [])
    for elsewhere in (Position("other", 2), Position(start.epoch, 4), None):
        snapshot = await store.read(topic, elsewhere)
        assert not snapshot.recovered
        assert [json.loads(text)["state"] for text in snapshot.texts] == ["SUCCESS"]
    await store.close()


async def test_history_that_is_not_whole_any_more_is_not_recovery(store):
    with override_settings(REALTIME={**settings.REALTIME, "MAX_HISTORY_EVENTS": 4}):
        store = get_store()
        topic = Topic("task", "t")
        start = (await store.read(topic)).position
        await accept(store, task_id="t", state="STARTED", run_id="a", begins=True)
        for counter in range(1, 5):
            await accept(store, task_id="t", state="PROGRESS", run_id="a", counter=counter)
        assert not (await store.read(topic, start)).recovered
        rest = await store.read(topic, Position(start.epoch, 1))
        assert rest.recovered
        assert len(rest.texts) == 4
        await store.close()


async def test_following_a_place_that_the_store_came_from_is_recovery(store):
    topic = Topic("task", "t")
    first = (await store.read(topic)).head
    for change in some_life("t"):
        await sync_to_async(store.accept)(change)
    whole = await store.read_since(topic, first)
    assert (whole.recovered, len(whole.texts)) == (True, 3)
    assert [whole.head] == await store.heads(["task:t"])
    digest = first.digest
    for text in whole.texts:
        digest = next_digest(digest, text)
    assert digest == whole.digest
    none = await store.read_since(topic, whole.head)
    assert (none.recovered, list(none.texts)) == (True, [])
    elsewhere = Head(Position("other", 7), 7)
    snapshot = await store.read_since(topic, elsewhere)
    assert (snapshot.recovered, snapshot.head) == (False, whole.head)
    await store.close()


@pytest.mark.parametrize("more", [0, 1, 2, 3])
async def test_a_store_that_went_back_continues_in_one_new_epoch(store, more):
    topic = Topic("user", "42")
    pending, started, _ = some_life("t", owner="42")
    await sync_to_async(store.accept)(pending)
    go_back = keep(store)
    await sync_to_async(store.accept)(started)
    await accept(store, task_id="late", state="PENDING", owner="42")
    lost = (await store.read(topic)).head
    assert lost.position.offset == 3
    go_back()
    others = [Change(task_id=f"t{n}", state="PENDING", owner="42") for n in range(more)]
    for change in others:
        await sync_to_async(store.accept)(change)
    # A client's position changes nothing, whatever it is.
    reading = await store.read(topic, Position(lost.position.epoch, 10**30))
    assert (reading.recovered, reading.position) == (False, Position(lost.position.epoch, 1 + more))
    found = await store.read_since(topic, lost)
    assert not found.recovered
    assert found.position.epoch != lost.position.epoch
    known = [json.loads(text)["task_id"] for text in found.texts]
    assert known == [*(f"t{n}" for n in reversed(range(more))), "t"]
    # Who notices it too finds it done, and what comes follows on.
    assert (await store.read_since(topic, lost)).head == found.head
    assert not (await store.read(topic, lost.position)).recovered
    await accept(store, task_id="t", state="RECEIVED")
    await accept(store, task_id="new", state="PENDING", owner="42")
    rest = await store.read_since(topic, found.head)
    assert (rest.recovered, len(rest.texts)) == (True, 2)
    assert not (await store.read(topic, Position(found.position.epoch, 0))).recovered
    newest = (await sync_to_async(store.statuses)(topic))[0]
    assert newest.task_id == "new"
    await store.close()


def keep(store):
    """Copy the data of the store; return a function that restores the copy."""
    if not conf().STORE.endswith("RedisStore"):
        kept = copy.deepcopy((store._records, store._logs))

        def go_back():
            store._records, store._logs = kept
    else:
        client = redis.Redis.from_url(conf().REDIS_URL)
        dumps = {key: client.dump(key) for key in client.scan_iter("realtime:*")}

        def go_back():
            with client:
                client.delete(*client.scan_iter("realtime:*"))
                for key, dump in dumps.items():
                    client.restore(key, 60_000, dump)

    return go_back


async def test_a_topic_that_went_back_is_kept_as_long_as_before(clean_redis):
    store, topic = get_store(), Topic("task", "t")
    await accept(store, task_id="t", state="PENDING")
    head = (await store.read(topic)).head
    with redis.Redis.from_url(clean_redis) as client:
        client.expire("realtime:head:task:t", 1000)
        found = await store.read_since(topic, head._replace(digest=head.digest + 1))
        assert found.position.epoch != head.position.epoch
        assert 900 < client.ttl("realtime:head:task:t") <= 1000
    await store.close()


async def test_heads_are_of_each_topic_and_none_for_missing_ones(store):
    for change in some_life("t", owner="42"):
        await sync_to_async(store.accept)(change)
    task, user, missing = await store.heads(["task:t", "user:42", "task:none"])
    assert (task.position.offset, user.position.offset, missing) == (3, 3, None)
    await store.close()


async def test_every_event_reaches_a_real_layer_whole_and_in_order(store):
    layer = get_layer()
    channel = await layer.new_channel()
    groups = [group_of(topic) for topic in ("task:t", "user:42")]
    for group in groups:
        await layer.group_add(group, channel)
    await _joined(groups)
    *first, last = some_life("t", owner="42")
    versions = [await sync_to_async(store.accept)(change) for change in first]
    versions.append(store.accept(last))  # from the event loop itself, as an async view does
    assert versions == [1, 2, 3]
    async with asyncio.timeout(DEADLINE):
        events = [from_message(await layer.receive(channel)) for _ in range(2 * 3)]
    for topic in ("task:t", "user:42"):
        mine = [event for event in events if event.topic == topic]
        assert [event.position.offset for event in mine] == [1, 2, 3]
        assert [event.state for event in mine] == ["PENDING", "STARTED", "SUCCESS"]
        assert {event.task_id for event in mine} == {"t"}
        assert len({event.position.epoch for event in mine}) == 1
        last = json.loads(mine[-1].text)
        assert (last["state"], last["version"], last["result"]) == ("SUCCESS", 3, 42)
    await store.close()


async def _joined(groups):
    """Return when Redis has the layer's subscriptions: the layer does not wait for that."""
    if conf().STORE.endswith("RedisStore"):
        names = [f"{group_prefix()}{group}" for group in groups]
        async with redis.asyncio.Redis.from_url(conf().REDIS_URL) as client:

            async def are_known() -> bool:
                return all(count for _, count in await client.pubsub_numsub(*names))

            await auntil(are_known)


async def test_the_group_message_is_the_one_that_the_layer_would_send(clean_redis):
    """The contract with channels_redis: what the script packs, its deserialize() reads."""
    assert installed("channels-redis") >= "4.3"
    client = redis.asyncio.Redis.from_url(clean_redis)
    subscriber = client.pubsub()
    layer = get_channel_layer()
    name = f"{layer.prefix}__group__{group_of('task:t')}"
    await subscriber.subscribe(name)
    await subscriber.get_message(timeout=30)
    store = get_store()
    await accept(store, task_id="t", state="STARTED", run_id="a", begins=True)
    raw = None
    while raw is None:
        raw = await subscriber.get_message(ignore_subscribe_messages=True, timeout=30)
    message = layer.deserialize(raw["data"])
    assert raw["channel"].decode() == name
    assert layer.deserialize(layer.serialize(message)) == message
    assert message["type"] == "realtime.event"
    assert message["offset"] == 1
    await subscriber.aclose()
    await client.aclose()
    await store.close()


def test_a_record_outlives_its_end_by_a_day_and_its_silence_by_a_week(clean_redis):
    store = get_store()
    client = redis.Redis.from_url(clean_redis)
    life = some_life("t", owner="42")
    store.accept(life[0])
    assert 6 * 86400 < client.ttl("realtime:task:t") <= 7 * 86400
    for change in life[1:]:
        store.accept(change)
    assert 0 < client.ttl("realtime:task:t") <= 86400
    assert 0 < client.ttl("realtime:head:task:t") <= 86400
    assert 0 < client.ttl("realtime:log:task:t") <= 600
    assert all(client.ttl(key) > 0 for key in client.scan_iter("realtime:*"))
    client.close()


async def test_an_emptied_store_counts_in_a_new_epoch(clean_redis):
    store = get_store()
    topic = Topic("task", "t")
    await accept(store, task_id="t", state="PENDING")
    before = (await store.read(topic)).position
    async with redis.asyncio.Redis.from_url(clean_redis) as client:
        await client.flushdb()
    await accept(store, task_id="t", state="STARTED", run_id="a", begins=True)
    after = await store.read(topic, before)
    assert not after.recovered
    assert after.position.epoch != before.epoch
    assert after.position.offset == 1
    await store.close()


def test_a_connection_that_was_cut_is_replaced_without_losing_the_change(clean_redis):
    store = get_store()
    store.accept(Change(task_id="t", state="PENDING"))
    with redis.Redis.from_url(clean_redis) as client:
        client.client_kill_filter(_type="normal", skipme=True)
    assert store.accept(Change(task_id="t", state="RECEIVED")) == 2


def test_a_change_whose_connection_is_cut_before_it_is_answered_is_sent_again(clean_redis):
    store = get_store()
    store.accept(Change(task_id="t", state="PENDING"))
    with redis.Redis.from_url(clean_redis) as client:
        client.client_pause(30_000, all=False)  # writes wait
        answer = store.send(Change(task_id="t", state="RECEIVED"))
        assert until(lambda: int(client.info("clients")["blocked_clients"]) == 1)
        client.client_kill_filter(_type="normal", skipme=True)
        client.client_unpause()
    assert answer() == 2
    assert store.status("t").state == "RECEIVED"


def test_scripts_that_redis_lost_are_loaded_again(clean_redis):
    store = get_store()
    store.accept(Change(task_id="t", state="PENDING"))
    with redis.Redis.from_url(clean_redis) as client:
        client.script_flush()
    assert store.accept(Change(task_id="t", state="RECEIVED")) == 2
    assert store.status("t").state == "RECEIVED"


def test_an_error_of_redis_is_raised_and_the_connection_stays_usable(clean_redis):
    store = get_store()
    with redis.Redis.from_url(clean_redis) as client:
        client.set("realtime:task:t", "no hash")
        with pytest.raises(redis.exceptions.ResponseError):
            store.accept(Change(task_id="t", state="PENDING"))
        client.delete("realtime:task:t")
    for number in range(200):
        assert store.accept(Change(task_id=f"t{number}", state="PENDING")) == 1
    assert len(store._patient.connections.idle) == 1


def test_many_threads_have_as_many_connections_and_no_more(clean_redis):
    from concurrent.futures import ThreadPoolExecutor

    store = get_store()
    with ThreadPoolExecutor(8) as pool:
        changes = (Change(task_id=f"t{n}", state="PENDING", owner="42") for n in range(2000))
        assert all(pool.map(store.accept, changes))
    assert 1 <= len(store._patient.connections.idle) <= 8
    assert len(store.statuses(Topic("user", "42"))) == 1000


CLASS = "connection_class"


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ("redis://h:1/2?socket_timeout=9&retry_on_timeout=yes&health_check_interval=1", 2),
        ("rediss://u:p@h:1?db=3&ssl_cert_reqs=none&max_connections=1", 3),
        ("unix:///tmp/redis.sock?db=4&socket_connect_timeout=9", 4),
    ],
)
async def test_only_the_location_counts_of_an_address(url, database):
    with override_settings(REALTIME={"REDIS_URL": url}):
        theirs = redis_address(async_parse_url)
        for options in (redis_address(sync_parse_url), theirs):
            left = {key for key in options if not key.startswith("ssl")}
            assert left <= {"host", "port", "path", "db", "username", "password", CLASS}
            assert options["db"] == database
        assert group_of("task:t") == f"realtime.{database}.task.t"
        (host,) = layer_module._own_config()["hosts"]
        assert host == theirs | {"socket_timeout": None}
        assert "parser_class" in with_receiver(host, print), "messages are taken off the connection"


def test_a_broker_whose_settings_changed_keeps_no_connection(clean_redis):
    store = get_store()
    store.accept(Change(task_id="t", state="PENDING"))
    assert store.status("t")
    with redis.Redis.from_url(clean_redis) as server:
        before = len(server.client_list())
        with override_settings(REALTIME={**settings.REALTIME, "MAX_HISTORY_EVENTS": 7}):
            assert len(server.client_list()) == before - 2
            assert get_store() is not store
