"""What redis-py and channels_redis have to be like for messages to come the short way."""

import asyncio

import pytest
import redis
import redis.asyncio.connection as redis_connection
from channels_redis.pubsub import RedisPubSubChannelLayer
from channels_redis.utils import create_pool
from django.test import override_settings

from realtime.groups import receiver
from realtime.groups.layer import make_layer
from tests.until import auntil

PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"


class OtherLayer(RedisPubSubChannelLayer):
    """Somebody's own."""


class OtherConnection(redis_connection.Connection):
    """Somebody's own."""


@pytest.fixture
async def heard_by(clean_redis):
    """Make a layer with these settings; return it and what it gives to `hear`."""
    layers = []

    def make(backend=PUBSUB, host=(), hear=None, **config):
        heard = []
        hosts = [{"address": clean_redis, "socket_timeout": None, **dict(host)}]
        given = {"default": {"BACKEND": backend, "CONFIG": {"hosts": hosts, **config}}}
        with override_settings(CHANNEL_LAYERS=given):
            layers.append(make_layer(hear or heard.append))
        return layers[-1], heard

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
async def test_messages_come_the_short_way_whole_and_in_order(heard_by, server, protocol):
    layer, heard = heard_by(host={"protocol": protocol})
    channel = await joined(layer, server, "g")
    said = [{"type": "t", "n": n, "text": "ä" * (n % 7) * 20_000} for n in range(300)]
    sending = asyncio.gather(*(layer.group_send("g", each) for each in said))
    for n in range(100):  # Redis' answers to these come between the messages
        await layer.group_add(f"g{n}", channel)
        await layer.group_discard(f"g{n}", channel)
    await sending
    await layer.send(channel, {"type": "last"})
    await auntil(lambda: len(heard) == 301)
    assert [*said, {"type": "last"}] == heard
    assert layer.channels[channel].empty()


async def test_a_message_in_pieces_and_many_in_one_piece_are_each_heard_once(heard_by, server):
    layer, heard = heard_by()
    await joined(layer, server, "g")
    data = [layer.serialize({"type": "t", "n": n, "text": "x" * 500}) for n in range(2000)]
    data.append(layer.serialize({"type": "t", "text": "x" * 3_000_000}))
    with server.pipeline(transaction=False) as pipeline:
        for each in data:
            pipeline.publish("asgi__group__g", each)
        await asyncio.to_thread(pipeline.execute)
    await auntil(lambda: len(heard) == len(data))
    assert [layer.serialize(each) for each in heard] == data


async def test_a_layer_that_was_cut_off_hears_again_from_where_it_has_not_left(heard_by, server):
    layer, heard = heard_by()
    channel = await joined(layer, server, "g", "left")
    await layer.group_discard("left", channel)
    await layer.send(channel, {"type": "before"})  # said after Redis' answer to that
    await auntil(lambda: heard)
    server.client_kill_filter(_type="pubsub")
    names = [channel, "asgi__group__g", "asgi__group__left"]
    await auntil(lambda: all(count for _, count in server.pubsub_numsub(*names[:2])))
    server.publish("asgi__group__g", layer.serialize({"type": "again"}))
    await auntil(lambda: len(heard) == 2)
    assert heard == [{"type": "before"}, {"type": "again"}]
    assert [count for _, count in server.pubsub_numsub(*names)] == [1, 1, 0]


async def test_a_message_that_makes_trouble_disturbs_no_other_and_no_connection(
    heard_by, server, caplog
):
    def hear(message):
        heard.append(message["type"])
        if message["type"] == "bad":
            raise ConnectionError("as if it were Redis'")

    heard = []
    layer, _ = heard_by(hear=hear)
    channel = await joined(layer, server)
    connections = {each["id"] for each in server.client_list(_type="pubsub")}
    server.publish(channel, b"\xc1 is no MessagePack")
    for name in ("bad", "good"):
        server.publish(channel, layer.serialize({"type": name}))
    await auntil(lambda: len(heard) == 2)
    assert heard == ["bad", "good"]
    assert {each["id"] for each in server.client_list(_type="pubsub")} == connections
    said = [record.getMessage().split()[0] for record in caplog.records]
    assert said == ["message_unreadable", "message_failed"]


@pytest.mark.parametrize(
    "host",
    [
        {"address": "unix:///nowhere"},
        {"address": "rediss://localhost"},
        {"host": "localhost", "port": 1},
        {"master_name": "m", "sentinels": [("localhost", 1)]},
    ],
)
def test_every_kind_of_connection_is_read_the_short_way(host):
    pool = create_pool(receiver.taking(host, lambda _data: None))
    assert isinstance(pool.make_connection()._parser, receiver._Parser)


async def test_encrypted_messages_are_heard(heard_by, server):
    layer, heard = heard_by(symmetric_encryption_keys=["a secret"])
    channel = await joined(layer, server)
    await layer.send(channel, {"type": "hidden"})
    await auntil(lambda: heard)
    assert heard == [{"type": "hidden"}]


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
async def test_what_somebody_has_made_different_is_left_alone(heard_by, given):
    layer, heard = heard_by(**given)
    channel = await layer.new_channel()
    receiving = asyncio.create_task(layer.receive(channel))
    async with asyncio.timeout(60):
        while not receiving.done():  # the layer does not wait until it has subscribed
            await layer.send(channel, {"type": "t"})
            await asyncio.wait([receiving], timeout=0.2)
    assert receiving.result()["type"] == "t"
    assert heard == []


async def test_where_redis_py_is_another_messages_come_the_long_way(heard_by, monkeypatch):
    monkeypatch.setattr(receiver, "_SHIPPED", None)
    layer, heard = heard_by()
    channel = await layer.new_channel()
    async with asyncio.timeout(10):
        await layer.send(channel, {"type": "t"})
        assert await layer.receive(channel) == {"type": "t"}
    assert heard == []
