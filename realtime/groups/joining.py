"""Join many groups with one command to Redis.

The layer sends a command for each group, which is half of what a subscription costs this process.
After a restart thousands of clients subscribe at once.

Relied on, of channels-redis 4.3: ``groups`` of the loop's layer has the channels of each group by
its name on Redis; a shard subscribes to names under ``_lock``, and keeps them in
``_subscribed_to``; its ``_pubsub.subscribe`` takes several. Where that is not so, each group is
joined by a command of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from channels_redis import pubsub

from realtime.core.relied_on import Part, are_known

from .layer import ChannelLayer

_LOOP_LAYER: Any = getattr(pubsub, "RedisPubSubLoopLayer", object)
_SHARD: Any = getattr(pubsub, "RedisSingleShardConnection", object)
_RELIED_ON: Final = (
    Part(pubsub.RedisPubSubChannelLayer, "_get_layer"),
    Part(_LOOP_LAYER, "_get_group_channel_name"),
    Part(_LOOP_LAYER, "_get_shard", "_shards"),
    Part(_LOOP_LAYER, "group_add", "channels groups add _get_shard subscribe"),
    Part(
        _SHARD,
        "subscribe",
        "_lock _subscribed_to _ensure_redis _ensure_receiver _pubsub subscribe add",
    ),
)


async def join_all(layer: ChannelLayer, groups: Sequence[str], channel: str) -> None:
    """Add a channel to groups. Raises what the layer raises; some may have been joined then."""
    if len(groups) > 1 and type(layer) is pubsub.RedisPubSubChannelLayer and _is_known():
        await _join_together(layer, groups, channel)
        return
    await asyncio.gather(*(layer.group_add(group, channel) for group in groups))


@cache
def _is_known() -> bool:
    instead = "each group is joined by a command of its own"
    return are_known("joining", "channels-redis", _RELIED_ON, instead=instead)


async def _join_together(layer: Any, groups: Sequence[str], channel: str) -> None:
    inner = layer._get_layer()  # noqa: SLF001
    if channel not in inner.channels:
        raise RuntimeError("the layer was flushed")
    by_shard: dict[Any, list[str]] = {}
    for group in groups:
        name = inner._get_group_channel_name(group)  # noqa: SLF001
        inner.groups.setdefault(name, set()).add(channel)
        by_shard.setdefault(inner._get_shard(name), []).append(name)  # noqa: SLF001
    for shard, names in by_shard.items():
        async with shard._lock:  # noqa: SLF001
            known = shard._subscribed_to  # noqa: SLF001
            if fresh := [name for name in names if name not in known]:
                shard._ensure_redis()  # noqa: SLF001
                shard._ensure_receiver()  # noqa: SLF001
                await shard._pubsub.subscribe(*fresh)  # noqa: SLF001
                known.update(fresh)
