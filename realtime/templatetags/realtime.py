"""``{% load realtime %}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import template

from realtime.ownership import owner_topic
from realtime.web.tokens import make_token

register = template.Library()


@register.simple_tag(takes_context=True)
def realtime_token(context: Mapping[str, Any], *topics: str) -> str:
    """Return a token for these topics; without any, for all that the page's visitor started.

    It is empty for a visitor where there are no sessions: nothing can be theirs then. Giving a
    topic's token to a page lets its reader see the topic: name only what is theirs.
    """
    named = topics or tuple(filter(None, [owner_topic(context["request"])]))
    return make_token(named)[0] if named else ""
