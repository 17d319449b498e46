"""Functions for REALTIME["CAN_SUBSCRIBE"] and REALTIME["REDACT"], as a project may write them."""

from __future__ import annotations

from typing import Any


def friends(user: Any, topic: Any) -> bool:
    """Users with the first name "friend" see the tasks of everybody; the database is asked."""
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
    """Hide the canary, wherever a task says it."""
    return value.replace("canary", "…") if isinstance(value, str) else value
