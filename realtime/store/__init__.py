"""The source of truth: one interface, in Redis and in memory."""

from __future__ import annotations

from functools import lru_cache

from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from realtime.conf import conf

from .base import Store


@lru_cache(maxsize=1)
def get_store() -> Store:
    """Return this process' store, which the setting ``STORE`` names."""
    store: Store = import_string(conf().STORE)()
    return store


def _forget(*, setting: str, **_kwargs: object) -> None:
    if setting in ("REALTIME", "CHANNEL_LAYERS"):
        if get_store.cache_info().currsize:
            # Not by the garbage collector, which may destroy the socket first.
            get_store().disconnect()
        get_store.cache_clear()


setting_changed.connect(_forget)
