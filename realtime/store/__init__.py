"""Keeping and publishing: one contract, in Redis and in memory."""

from __future__ import annotations

from functools import lru_cache

from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from realtime.conf import conf

from .base import Store


@lru_cache(maxsize=1)
def get_store() -> Store:
    """Return this process's store, as the setting ``STORE`` names it."""
    store: Store = import_string(conf().STORE)()
    return store


def _forget(*, setting: str, **_kwargs: object) -> None:
    if setting in ("REALTIME", "CHANNEL_LAYERS"):
        if get_store.cache_info().currsize:
            # Not left to the garbage collector, which may take the socket first.
            get_store().disconnect()
        get_store.cache_clear()


setting_changed.connect(_forget)
