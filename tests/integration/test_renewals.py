"""When the expiry of keys is renewed: once in a while, and at once for what was lost."""

import pytest
import redis

from realtime.conf import conf
from realtime.core.change import Change
from realtime.core.topics import Topic
from realtime.store import get_store
from realtime.store.scripts import RENEWAL_PART

pytestmark = pytest.mark.integration

RUN = {"task_id": "t", "run_id": "a", "owner": "42", "publication": "p"}
RECORD = "realtime:task:t"
LOGS = ("realtime:log:task:t", "realtime:log:user:42")
LIST = "realtime:list:user:42"
#: Far from all times to live.
SOON = 60


@pytest.fixture
def server(clean_redis):
    with redis.Redis.from_url(clean_redis, decode_responses=True) as client:
        yield client


def test_a_log_that_a_task_comes_to_is_renewed(server):
    """A task of nobody that names its owner soon after its own keys were renewed."""
    store, log = get_store(), LOGS[1]
    assert store.accept(Change(task_id="other", state="PENDING", owner="42", publication="q"))
    assert server.expire(log, SOON)
    assert store.accept(Change(task_id="t", state="STARTED", begins=True, run_id="a"))
    assert store.accept(Change(task_id="t", state="PROGRESS", run_id="a", owner="42"))
    assert server.ttl(log) > SOON


@pytest.fixture
def store(server):
    """A store with a task that runs and has reported."""
    store = get_store()
    store.accept(Change(state="STARTED", begins=True, **RUN))
    report(store)
    return store


def report(store):
    assert store.accept(
        Change(state="PROGRESS", fields={"progress": "1", "updated_at": "2"}, **RUN)
    )


def renewed(server):
    """Return the keys whose expiry was renewed, and let all of them expire soon."""
    found = {key for key in (RECORD, *LOGS) if server.ttl(key) > SOON}
    for key in (RECORD, *LOGS):
        server.expire(key, SOON)
    return found


def pass_time(server, seconds):
    """Make the last renewal earlier, as seen from now."""
    server.hincrby(RECORD, "_renewed", -int(seconds))


def test_changes_renew_the_expiry_after_a_twentieth_of_the_shortest(server, store):
    period = conf().HISTORY_TTL * RENEWAL_PART
    assert renewed(server) == {RECORD, *LOGS}
    report(store)
    store.accept(Change(state="STALLED", task_id="t", run_id="a"))
    pass_time(server, period / 2)
    report(store)
    assert renewed(server) == set()
    pass_time(server, period)
    report(store)
    assert renewed(server) == {RECORD, *LOGS}
    report(store)
    assert renewed(server) == set()


def test_a_clock_of_redis_that_went_back_renews_the_expiry(server, store):
    renewed(server)
    pass_time(server, -3600)
    report(store)
    assert renewed(server) == {RECORD, *LOGS}


def test_the_end_of_a_task_sets_how_long_its_record_is_kept(server, store):
    renewed(server)
    store.accept(Change(state="SUCCESS", **RUN))
    assert conf().RECORD_TTL - 60 < server.ttl(RECORD) <= conf().RECORD_TTL
    assert store.accept(Change(state="PENDING", publication="q", task_id="t", owner="42"))
    assert conf().UNFINISHED_TTL - 60 < server.ttl(RECORD) <= conf().UNFINISHED_TTL


def test_a_log_that_was_lost_expires_and_a_head_that_was_lost_lists_the_task_again(server, store):
    server.delete(*LOGS)
    report(store)
    assert all(0 < server.ttl(key) <= conf().HISTORY_TTL for key in LOGS)
    server.delete("realtime:head:user:42", LIST)
    report(store)
    assert [each.task_id for each in store.statuses(Topic("user", "42"))] == ["t"]


@pytest.mark.parametrize("change", ["a renewal", "another state"])
def test_a_list_that_lost_a_task_has_it_again_after(server, store, change):
    server.delete(LIST)
    report(store)
    assert not server.exists(LIST)
    if change == "a renewal":
        pass_time(server, conf().HISTORY_TTL)
        report(store)
    else:
        store.accept(Change(state="SUCCESS", **RUN))
    assert [each.task_id for each in store.statuses(Topic("user", "42"))] == ["t"]
    assert server.ttl(LIST) > 0
