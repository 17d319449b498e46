"""Situations that people reported of ordinary projects; each test is one of them, in a sentence."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from realtime.web.access.revocation import get_access_checker
from realtime.web.hub import get_hub
from tests.client.session import SessionClient

#: Set by `make field`: each situation in full. The suite runs a short form.
LONG = os.environ.get("FIELD") == "long"


@pytest.fixture(scope="session")
def amount() -> Callable[[int, int], int]:
    """Pick how much of something to do: `amount(20, 2_000)` is the second with `make field`."""
    return lambda short, long: long if LONG else short


@pytest.fixture
async def open_client(clean_redis: str) -> AsyncIterator[Callable[..., Any]]:
    """Open clients of sessions in this process."""
    clients = []

    async def opened(user: Any = None) -> SessionClient:
        clients.append(await SessionClient(user).open())
        return clients[-1]

    changed = {"MAX_REFUSALS_PER_MINUTE": 100_000, "CHECK_INTERVAL": 0.5}
    with override_settings(REALTIME={**settings.REALTIME, **changed}):
        yield opened
        for client in clients:
            await client.leave()
        await get_access_checker().close()
        await get_hub().close()
