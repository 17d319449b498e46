"""Functions for REALTIME["CAN_SUBSCRIBE"] and REALTIME["REDACT"], as a project may write them."""

from __future__ import annotations

import threading
from typing import Any


def friends(user: Any, topic: Any) -> bool:
    """Users with the first name "friend" see all tasks; the function uses the database."""
    if user.first_name == "broken":
        raise RuntimeError("the policy has failed")
    if user.first_name == "truthy":
        return "yes"  # type: ignore[return-value]
    return (
        topic.kind == "task"
        and topic.owner != ""
        and user.groups.count() == 0
        and (user.first_name == "friend")
    )


async def shared(user: Any, topic: Any) -> bool:
    """Everybody sees what belongs to nobody, also without being signed in."""
    return topic.kind == "task" and topic.owner == ""


def redact(kind: str, value: Any) -> Any:
    """Replace the canary in every text of a task."""
    return value.replace("canary", "…") if isinstance(value, str) else value


# Owners of users


def owner_in_one(user: Any) -> str:
    """Tenant one: its users are counted from 1."""
    return f"one: {user.pk}"


def owner_in_two(user: Any) -> str:
    """Tenant two: its users are counted from 1, too."""
    return f"two: {user.pk}"


def owner_by_name(user: Any) -> Any:
    """Return the owner that the user's name selects."""
    made = {"nobody": None, "number": 7, "empty": "", "long": "x" * 256, "line": "a\nb"}
    if user.username == "broken":
        raise RuntimeError("the directory is away")
    if user.username == "counts":
        return str(type(user).objects.count())
    return made.get(user.username, user.username.partition(" of ")[2] or user.username)


async def owner_later(user: Any) -> str:
    """No plain function."""
    return str(user.pk)


class Gate:
    """Holds calls of :func:`gated` up until it is opened."""

    entered, opened = threading.Event(), threading.Event()


def gated(user: Any, topic: Any) -> bool:
    """Wait as long as a directory that does not answer."""
    Gate.entered.set()
    return Gate.opened.wait(60)


def owner_in_tenant(user: Any) -> str:
    """Users are counted from 1 in each tenant."""
    return f"{user.tenant} {user.pk}"
