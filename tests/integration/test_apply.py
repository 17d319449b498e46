"""Applying statuses to a topic: in one call or many, once or again after a crash."""

import json
from random import Random

import pytest
import redis
from django.test import override_settings

from realtime.conf import conf
from realtime.core.decide import Accepted
from realtime.core.topics import Topic
from realtime.store import get_store
from realtime.store.keys import Keys
from realtime.store.record import Record
from realtime.store.scripts import Script
from tests.integration.test_store import IN_MEMORY

pytestmark = pytest.mark.integration

TOPICS = (Topic("task", "t0"), Topic("user", "42"))

#: apply.lua in a call of its own, as on a server that does not have the record: what the topic has
#: of each task is in a hash beside it, KEYS[1].
ALONE = """
local call, recent = redis.call, nil
local function library()
  -- include lists.lua
  return {listed = listed}
end
local task_id, life, version, status, topic = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local many, group, name, k = ARGV[6] == '1', 'group', ARGV[7], 4
local packed, hash = cmsgpack.pack('task_id', task_id), #status
local ttl, ttl_changed, head_ttl, seconds, renews, lists = 60, false, 60, 0, true, true
local had_life, had_version = string.match(
  call('HGET', KEYS[1], task_id) or '', '^([^ ]+) (%d+)$')
had_version = tonumber(had_version)
-- include apply.lua
if had_life ~= life or had_version < version then
  call('HSET', KEYS[1], task_id, life .. ' ' .. version)
end
"""


class InRedis:
    """A topic in Redis."""

    def __init__(self, topic):
        self._client = redis.Redis.from_url(conf().REDIS_URL, decode_responses=True)
        self._client.flushdb()
        self._script, self._topic, self._epochs = Script(ALONE), topic, 0
        keys = Keys("realtime:")
        self._keys = keys.of_topic(topic)[: 4 if topic.has_list else 2]
        self._all = [f"versions:{topic}", keys.running, keys.waiting, *self._keys]

    def apply(self, task_id, life, version):
        self._epochs += 1
        many = "1" if self._topic.has_list else ""
        args = [task_id, life, version, status(task_id, life, version), str(self._topic), many]
        self._script.call(self._client, self._all, [*args, f"e{self._epochs}"])

    def state(self):
        client, (head, log, *lists) = self._client, self._keys
        offset = int((client.get(head) or "- 0").split()[1])
        kept = [client.zrange(lists[0], 0, -1, withscores=True)] if lists else []
        return offset, [*map(json.loads, client.lrange(log, 0, -1))], kept

    def close(self):
        self._client.close()


class InMemory:
    """A topic in memory."""

    def __init__(self, topic):
        self._store, self._topic = get_store(), topic
        self._store._logs.clear()

    def apply(self, task_id, life, version):
        record = Record(Accepted("STARTED"), life=life, version=version)
        record.texts = json.loads(status(task_id, life, version))
        record.texts = {key: json.dumps(value) for key, value in record.texts.items()}
        list(self._store._apply(self._topic, task_id, record))

    def state(self):
        log = self._store._logs.get(str(self._topic))
        kept = [list(log.tasks.items())] if log and self._topic.has_list else []
        texts = [json.loads(text) for text in log.texts] if log else []
        names = ("task_id", "name", "version")
        return log.offset if log else 0, [{key: each[key] for key in names} for each in texts], kept

    def close(self):
        pass


def status(task_id, life, version):
    return json.dumps({"task_id": task_id, "name": life, "version": version})


def some_statuses(random, topic):
    """Statuses of some tasks, each task's in their order: a later life may follow."""
    tasks = {f"t{n}": [0, 0] for n in range(3 if topic.has_list else 1)}
    for _ in range(random.randint(1, 15)):
        task_id = random.choice(list(tasks))
        life, version = tasks[task_id]
        if random.random() < 0.2:
            life, version = life + 1, random.choice([0, version])
        tasks[task_id] = [life, version + random.choice([1, 1, 2])]
        yield task_id, f"life{tasks[task_id][0]}", tasks[task_id][1]


def with_repeats(random, statuses):
    """Repeat statuses, each while its life lasts: a crash came before it was known as applied."""
    applied = {}
    for each in statuses:
        task_id, life, _ = each
        yield each
        applied[task_id] = [old for old in applied.get(task_id, ()) if old[1] == life] + [each]
        for _ in range(random.choice([0, 0, 1, 3])):
            yield random.choice(random.choice(list(applied.values())))


@pytest.fixture(params=[InMemory, InRedis])
def make_topic(request):
    if request.param is InRedis:
        request.getfixturevalue("clean_redis")
        yield InRedis
    else:
        with override_settings(**IN_MEMORY):
            yield InMemory


@pytest.mark.parametrize("topic", TOPICS, ids=str)
@pytest.mark.parametrize("seed", range(25))
def test_what_is_applied_again_changes_nothing(make_topic, topic, seed):
    random = Random(seed)
    statuses = list(some_statuses(random, topic))
    states = []
    for each in (statuses, list(with_repeats(random, statuses))):
        kept = make_topic(topic)
        for one in each:
            kept.apply(*one)
        states.append(kept.state())
        kept.close()
    assert states[0] == states[1]
    assert states[0][0] > 0


def test_a_task_of_another_life_comes_to_the_top_of_a_list_and_begins_its_topic_anew(make_topic):
    task, user = map(make_topic, TOPICS)
    for topic in (task, user):
        for each in (("t0", "a", 1), ("t0", "a", 2)):
            topic.apply(*each)
    user.apply("t1", "a", 1)
    user.apply("t0", "a", 3)
    assert [name for name, _ in user.state()[2][0]] == ["t0", "t1"]
    for topic in (task, user):
        topic.apply("t0", "b", 1)
    assert [name for name, _ in user.state()[2][0]] == ["t1", "t0"]
    assert user.state()[0] == 5
    assert task.state()[0] == 1
    task.close()
    user.close()
