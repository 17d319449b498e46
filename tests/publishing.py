"""Changes as a worker would publish them, and tokens as the service's own pages would make them."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

from django.test import override_settings

from realtime.core.change import Change
from realtime.core.jsontext import dumps
from realtime.store import get_store
from realtime.web.access.tokens import make_token
from tests.client.websocket import Addressed


def fresh_id() -> str:
    """Return an id that no task has had."""
    return str(uuid.uuid4())


def publish_change(task_id: str, state: str, *, owner: object = "", **fields: Any) -> int:
    """Let the store accept a change; return its version, 0 if it is stale.

    `owner` is a user's key, or the ident of a visitor; the fields are values, not JSON text.
    """
    texts = {key: dumps(value) for key, value in fields.items()}
    return get_store().accept(Change(task_id=task_id, state=state, owner=str(owner), fields=texts))


def publish_progress(task_id: str, *currents: int, owner: object = "") -> None:
    """Let the store accept progress."""
    for current in currents:
        progress = {"current": current, "total": None, "message": None}
        assert publish_change(task_id, "PROGRESS", owner=owner, progress=progress)


def user(key: int | None) -> Any:
    """Return what `owned_by()` accepts as the user with this primary key."""
    return SimpleNamespace(pk=key, is_authenticated=key is not None)


def token_for(service: Addressed, *topics: str) -> str:
    """Return a token that the service accepts."""
    with secret_of(service):
        return make_token(topics)[0]


def secret_of(service: Addressed) -> Any:
    """Return the settings under which a signature made here is the service's own."""
    return override_settings(SECRET_KEY=(service.data_dir / "secret_key").read_text())
