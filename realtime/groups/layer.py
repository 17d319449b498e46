"""The channel layer, and the format of a message that it delivers.

The script publishes by itself, in the format of ``channels_redis.pubsub.RedisPubSubChannelLayer``.
``async_to_sync(group_send)`` would send the same at the price of a thread, an event loop and a
connection a call. A contract test sends through the script and receives through the real layer.

Relied on, of channels-redis 4.3: a message to a group is one ``PUBLISH`` of a MessagePack map to
``{prefix}__group__{group}``, and ``deserialize`` reads that map. Where that is not so, the hub
receives no events and finds them in the store, up to ``CHECK_INTERVAL`` seconds later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, Final, Protocol, cast

from channels.layers import InMemoryChannelLayer, channel_layers
from django.conf import settings as django_settings
from django.core.signals import setting_changed
from redis.asyncio.connection import parse_url

from realtime.conf import conf, redis_address
from realtime.core.event import Event
from realtime.core.jsontext import dumps
from realtime.core.logs import get_logger
from realtime.core.position import Position
from realtime.core.relied_on import Part, are_known
from realtime.core.single import Single
from realtime.core.topics import TASK, group_name

logger = get_logger("realtime.hub")

#: The ``type`` of every event's group message. A consumer of the project that called ``group_add``
#: receives it in its method ``realtime_event(message)``.
MESSAGE_TYPE = "realtime.event"
_FIELDS: Final = ("topic", "epoch", "offset", "task_id", "state", "status")
_TYPES: Final = [str, str, int, str, str, str]


class ChannelLayer(Protocol):
    """What the service uses of a channel layer."""

    async def new_channel(self) -> str: ...
    async def send(self, channel: str, message: dict[str, Any]) -> None: ...
    async def group_add(self, group: str, channel: str) -> None: ...
    async def group_discard(self, group: str, channel: str) -> None: ...
    async def group_send(self, group: str, message: dict[str, Any]) -> None: ...
    async def flush(self) -> None: ...
    async def receive(self, channel: str) -> dict[str, Any]: ...


def get_layer() -> ChannelLayer:
    """Return the configured layer; without one, a Pub/Sub layer on ``REDIS_URL``."""
    alias = conf().CHANNEL_LAYER
    if alias in getattr(django_settings, "CHANNEL_LAYERS", {}):
        return cast(ChannelLayer, channel_layers[alias])
    return _own_layer.get()


def make_layer(receive: Callable[[Any], None]) -> ChannelLayer:
    """Return a layer like the configured one, with connections of its own.

    The caller may flush it, which would unsubscribe others if they shared it. A layer in memory is
    returned itself. Where possible, each message goes to ``receive`` as soon as it is read, and not
    to the layer's own ``receive``: see ``receiver.py``.
    """
    from channels_redis.pubsub import RedisPubSubChannelLayer
    from channels_redis.utils import decode_hosts

    from .receiver import with_receiver

    layer = get_layer()
    if isinstance(layer, InMemoryChannelLayer):
        return layer
    alias = conf().CHANNEL_LAYER
    configured = getattr(django_settings, "CHANNEL_LAYERS", {}).get(alias)
    if type(layer) is not RedisPubSubChannelLayer:  # a subclass may change any message
        return cast(ChannelLayer, channel_layers.make_backend(alias))
    config = _own_config() if configured is None else configured.get("CONFIG", {})
    if not _format_is_known():
        return RedisPubSubChannelLayer(**config)

    def receive_data(data: bytes) -> None:
        try:
            message = fresh.deserialize(data)
        except Exception as error:  # noqa: BLE001 - every client of Redis can publish anything
            logger.warning("message_unreadable error=%r", error)
        else:
            receive(message)

    hosts = [with_receiver(host, receive_data) for host in decode_hosts(config.get("hosts"))]
    fresh: Any = RedisPubSubChannelLayer(**{**config, "hosts": hosts})
    return cast(ChannelLayer, fresh)


@cache
def _format_is_known() -> bool:
    from channels_redis.pubsub import RedisPubSubChannelLayer, RedisPubSubLoopLayer

    parts = (
        Part(RedisPubSubLoopLayer, "_get_group_channel_name", "prefix __group__"),
        Part(RedisPubSubLoopLayer, "group_send", "_get_group_channel_name serialize publish"),
        Part(RedisPubSubChannelLayer, "deserialize"),
    )
    instead = "events are found in the store, up to CHECK_INTERVAL seconds late"
    if not are_known("layer", "channels-redis", parts, instead=instead):
        return False
    sample = b"\x81\xa4type\xaerealtime.event"
    try:
        found = RedisPubSubChannelLayer(hosts=[]).deserialize(sample)
    except Exception as error:  # noqa: BLE001 - logged
        found = error
    if found == {"type": MESSAGE_TYPE}:
        return True
    logger.warning("message_format_unknown found=%r instead=%r", found, instead)
    return False


def _make_own_layer() -> ChannelLayer:
    from channels_redis.pubsub import RedisPubSubChannelLayer

    return cast(ChannelLayer, RedisPubSubChannelLayer(**_own_config()))


_own_layer = Single(_make_own_layer)


def _own_config() -> dict[str, Any]:
    # redis-py 8 gives up an idle read after 5 s by default; a subscriber idles for hours.
    return {"hosts": [{**redis_address(parse_url), "socket_timeout": None}]}


def group_of(topic: str) -> str:
    """Return the Channels group of a topic: for the service with this PREFIX and database alone."""
    return group_name(topic, prefix=conf().PREFIX, database=_database())


def access_group() -> str:
    """Return the group that carries changes of access to every process.

    It is one for all users: such changes are rare, and a group for each would cost a subscription
    on Redis for each of them.
    """
    return group_of("access")


@lru_cache(maxsize=1)
def _database() -> int:
    return int(redis_address(parse_url).get("db", 0))


def group_prefix() -> str:
    """Return the layer's prefix of a group's name on Redis."""
    configured = getattr(django_settings, "CHANNEL_LAYERS", {}).get(conf().CHANNEL_LAYER, {})
    prefix = configured.get("CONFIG", {}).get("prefix", "asgi")
    return f"{prefix}__group__"


def to_message(event: Event) -> dict[str, Any]:
    """Return an event's group message, as ``accept.lua`` packs it."""
    return {
        "type": MESSAGE_TYPE,
        "topic": event.topic,
        "epoch": event.position.epoch,
        "offset": event.position.offset,
        "task_id": event.task_id,
        "state": event.state,
        "status": event.text,
    }


def from_message(message: Any) -> Event | None:
    """Read a group message; None for one that is not an event, or not of the topic it names.

    Every client of Redis can publish anything.
    """
    if not isinstance(message, dict) or message.get("type") != MESSAGE_TYPE:
        return None
    # A match statement takes ten times as long.
    fields: list[Any] = [message.get(name) for name in _FIELDS]
    if list(map(type, fields)) != _TYPES:
        return None
    topic, epoch, offset, task_id, state, text = fields
    # A status begins with its task's id, and is one line: see `compose`, and `accept.lua`. Where a
    # connection is replaced while another task waits for its data, redis-py joins the rest of a
    # message to the first data of the new connection (asyncio, _AsyncHiredisParser).
    begins = text.startswith(f'{{"task_id":{dumps(task_id)},')
    is_whole = text.endswith("}") and "\n" not in text
    if begins and is_whole and (topic == f"{TASK}:{task_id}" or not topic.startswith(f"{TASK}:")):
        return Event(topic, Position(epoch, offset), task_id, state, text)
    return None


def _clear(*, setting: str, **_kwargs: object) -> None:
    if setting == "REALTIME":
        _own_layer.forget()
        _database.cache_clear()


setting_changed.connect(_clear)
