"""The source of truth: one interface, in Redis and in memory."""

from __future__ import annotations

from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from realtime.conf import conf
from realtime.core.single import Single

from .base import Store

_store: Single[Store] = Single(lambda: import_string(conf().STORE)())


def get_store() -> Store:
    """Return this process' store, which the setting ``STORE`` names."""
    return _store.get()


def _forget(*, setting: str, **_kwargs: object) -> None:
    if setting in ("REALTIME", "CHANNEL_LAYERS") and (store := _store.forget()):
        # Not by the garbage collector, which may destroy the socket first.
        store.disconnect()


setting_changed.connect(_forget)
