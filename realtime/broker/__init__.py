"""Keeping and publishing: one contract, in Redis and in memory."""

from __future__ import annotations

from functools import lru_cache

from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from realtime.conf import conf

from .base import Broker


@lru_cache(maxsize=1)
def get_broker() -> Broker:
    """Return this process's broker, as the setting ``BROKER`` names it."""
    broker: Broker = import_string(conf().BROKER)()
    return broker


def _forget(*, setting: str, **_kwargs: object) -> None:
    if setting in ("REALTIME", "CHANNEL_LAYERS"):
        if get_broker.cache_info().currsize:
            # Not left to the garbage collector, which may take the socket first.
            get_broker().disconnect()
        get_broker.cache_clear()


setting_changed.connect(_forget)
