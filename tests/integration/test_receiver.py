"""Messages past the layer, and through it where redis-py or channels-redis have changed."""

import asyncio
import subprocess
import sys

import pytest
import redis
import redis.asyncio.connection as redis_connection
from channels_redis.pubsub import RedisPubSubChannelLayer
from channels_redis.utils import create_pool
from django.test import override_settings

from project.processes import ROOT
from realtime.groups import joining, receiver
from realtime.groups.layer import make_layer
from tests.until import auntil

PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"


class OtherLayer(RedisPubSubChannelLayer):
    """A class of the project."""


class OtherConnection(redis_connection.Connection):
    """A class of the project."""


@pytest.fixture
async def new_layer(clean_redis):
    """Make a layer with these settings; return it and what it passes to `receive`."""
    layers = []

    def make(backend=PUBSUB, host=(), receive=None, **config):
        received = []
        hosts = [{"address": clean_redis, "socket_timeout": None, **dict(host)}]
        given = {"default": {"BACKEND": backend, "CONFIG": {"hosts": hosts, **config}}}
        with override_settings(CHANNEL_LAYERS=given):
            layers.append(make_layer(receive or received.append))
        return layers[-1], received

    yield make
    for layer in layers:
        await layer.flush()


@pytest.fixture
def server(clean_redis):
    with redis.Redis.from_url(clean_redis) as client:
        yield client


async def joined(layer, server, *groups):
    """Join groups, and return the channel when Redis knows of it: the layer does not wait."""
    channel = await layer.new_channel()
    for group in groups:
        await layer.group_add(group, channel)
    names = [channel, *(f"asgi__group__{group}" for group in groups)]
    await auntil(lambda: all(count for _, count in server.pubsub_numsub(*names)))
    return channel


@pytest.mark.parametrize("protocol", [2, 3])
async def test_messages_arrive_past_the_layer_whole_and_in_order(new_layer, server, protocol):
    layer, received = new_layer(host={"protocol": protocol})
    channel = await joined(layer, server, "g")
    sent = [{"type": "t", "n": n, "text": "ä" * (n % 7) * 20_000} for n in range(300)]
    sending = asyncio.gather(*(layer.group_send("g", each) for each in sent))
    for n in range(100):  # Redis' answers to these come between the messages
        await layer.group_add(f"g{n}", channel)
        await layer.group_discard(f"g{n}", channel)
    await sending
    await layer.send(channel, {"type": "last"})
    await auntil(lambda: len(received) == 301)
    assert [*sent, {"type": "last"}] == received
    assert layer.channels[channel].empty()


@pytest.mark.parametrize("is_known", [True, False])
async def test_many_groups_are_joined_and_left_whether_by_one_command_or_by_many(
    new_layer, server, monkeypatch, is_known
):
    monkeypatch.setattr(joining, "_is_known", lambda: is_known)
    layer, received = new_layer()
    channel = await joined(layer, server, "g0")
    server.config_resetstat()
    groups = [f"g{n}" for n in range(50)]
    await joining.join_all(layer, groups, channel)
    await joining.join_all(layer, groups, channel)  # changes nothing
    names = [f"asgi__group__{group}" for group in groups]
    await auntil(lambda: all(count for _, count in server.pubsub_numsub(*names)))
    calls = server.info("commandstats")["cmdstat_subscribe"]["calls"]
    assert calls == (1 if is_known else 49)  # g0 was joined before
    await layer.group_discard("g7", channel)
    for name in (names[0], names[7], names[49]):
        server.publish(name, layer.serialize({"type": name}))
    await auntil(lambda: len(received) == 2)
    assert received == [{"type": names[0]}, {"type": names[49]}]


async def test_a_layer_that_was_cut_off_after_it_joined_many_groups_receives_again(
    new_layer, server
):
    layer, received = new_layer()
    channel = await joined(layer, server)
    await joining.join_all(layer, ["g0", "g1", "g2"], channel)
    names = [f"asgi__group__g{n}" for n in range(3)]
    await auntil(lambda: all(count for _, count in server.pubsub_numsub(*names)))
    server.client_kill_filter(_type="pubsub")
    await auntil(lambda: all(count for _, count in server.pubsub_numsub(*names)))
    server.publish(names[1], layer.serialize({"type": "again"}))
    await auntil(lambda: received)
    assert received == [{"type": "again"}]


async def test_joining_a_flushed_layer_fails(new_layer):
    layer, _ = new_layer()
    channel = await layer.new_channel()
    await layer.flush()
    with pytest.raises(RuntimeError):
        await joining.join_all(layer, ["g0", "g1"], channel)


async def test_a_message_in_pieces_and_many_in_one_piece_are_each_received_once(new_layer, server):
    layer, received = new_layer()
    await joined(layer, server, "g")
    data = [layer.serialize({"type": "t", "n": n, "text": "x" * 500}) for n in range(2000)]
    data.append(layer.serialize({"type": "t", "text": "x" * 3_000_000}))
    with server.pipeline(transaction=False) as pipeline:
        for each in data:
            pipeline.publish("asgi__group__g", each)
        await asyncio.to_thread(pipeline.execute)
    await auntil(lambda: len(received) == len(data))
    assert [layer.serialize(each) for each in received] == data


async def test_a_layer_that_was_cut_off_receives_again_from_groups_that_it_has_not_left(
    new_layer, server
):
    layer, received = new_layer()
    channel = await joined(layer, server, "g", "left")
    await layer.group_discard("left", channel)
    await layer.send(channel, {"type": "before"})  # published after Redis' reply to that
    await auntil(lambda: received)
    server.client_kill_filter(_type="pubsub")
    names = [channel, "asgi__group__g", "asgi__group__left"]
    await auntil(lambda: all(count for _, count in server.pubsub_numsub(*names[:2])))
    server.publish("asgi__group__g", layer.serialize({"type": "again"}))
    await auntil(lambda: len(received) == 2)
    assert received == [{"type": "before"}, {"type": "again"}]
    assert [count for _, count in server.pubsub_numsub(*names)] == [1, 1, 0]


async def test_a_message_that_fails_disturbs_no_other_and_no_connection(new_layer, server, caplog):
    def receive(message):
        received.append(message["type"])
        if message["type"] == "bad":
            raise ConnectionError("as if it were Redis'")

    received = []
    layer, _ = new_layer(receive=receive)
    channel = await joined(layer, server)
    connections = {each["id"] for each in server.client_list(_type="pubsub")}
    server.publish(channel, b"\xc1 is no MessagePack")
    for name in ("bad", "good"):
        server.publish(channel, layer.serialize({"type": name}))
    await auntil(lambda: len(received) == 2)
    assert received == ["bad", "good"]
    assert {each["id"] for each in server.client_list(_type="pubsub")} == connections
    logged = [record.getMessage().split()[0] for record in caplog.records]
    assert logged == ["message_unreadable", "message_failed"]


@pytest.mark.parametrize(
    "host",
    [
        {"address": "unix:///nowhere"},
        {"address": "rediss://localhost"},
        {"host": "localhost", "port": 1},
        {"master_name": "m", "sentinels": [("localhost", 1)]},
    ],
)
def test_every_class_of_connection_is_read_past_the_layer(host):
    pool = create_pool(receiver.with_receiver(host, lambda _data: None))
    assert isinstance(pool.make_connection()._parser, receiver._Parser)


async def test_encrypted_messages_are_received(new_layer, server):
    layer, received = new_layer(symmetric_encryption_keys=["a secret"])
    channel = await joined(layer, server)
    await layer.send(channel, {"type": "hidden"})
    await auntil(lambda: received)
    assert received == [{"type": "hidden"}]


@pytest.mark.parametrize(
    "given",
    [
        {"backend": f"{__name__}.OtherLayer"},
        {"backend": "channels_redis.core.RedisChannelLayer"},
        {"host": {"parser_class": redis_connection.DefaultParser}},
        {"host": {"connection_class": OtherConnection}},
    ],
    ids=["a subclass", "the core layer", "a parser", "a connection"],
)
async def test_classes_of_the_project_are_used_as_they_are(new_layer, given):
    layer, received = new_layer(**given)
    channel = await layer.new_channel()
    receiving = asyncio.create_task(layer.receive(channel))
    async with asyncio.timeout(60):
        while not receiving.done():  # the layer does not wait until it has subscribed
            await layer.send(channel, {"type": "t"})
            await asyncio.wait([receiving], timeout=0.2)
    assert receiving.result()["type"] == "t"
    assert received == []


LAYER = """
import asyncio, sys
from tests.renamed import rename
rename(*sys.argv[1:])
import django
django.setup()
from realtime.groups.layer import make_layer

async def main():
    received = []
    layer = make_layer(received.append)
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    receiving = asyncio.create_task(layer.receive(channel))
    async with asyncio.timeout(30):
        while not receiving.done():  # the layer does not wait until it has subscribed
            await layer.group_send("g", {"type": "t"})
            await asyncio.wait([receiving], timeout=0.1)
    assert await receiving == {"type": "t"}
    assert received == []
    await layer.flush()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("library", "old", "new", "module"),
    [
        ("redis", "parser_class", "parser_type", "receiver"),
        ("redis", "_reader", "_replies", "receiver"),
        ("channels_redis", "__group__", "__groups__", "layer"),
        ("channels_redis", "_get_group_channel_name", "_channel_of_group", "layer"),
    ],
)
def test_where_a_library_has_changed_the_layer_delivers_and_one_line_is_logged(
    clean_redis, library, old, new, module
):
    env = {"PATH": "", "DJANGO_SETTINGS_MODULE": "tests.settings", "REDIS_URL": clean_redis}
    command = [sys.executable, "-c", LAYER, library, old, new]
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "library_unknown" in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"library_unknown module={module} ")
    assert old in lines[0]
