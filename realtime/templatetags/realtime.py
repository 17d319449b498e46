"""``{% load realtime %}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import template

from ..ownership import owner_of_request
from ..web.tokens import make_token

register = template.Library()


@register.simple_tag(takes_context=True)
def realtime_token(context: Mapping[str, Any], *topics: str) -> str:
    """Return a token for these topics; without any, for all that the page's visitor started.

    Giving a topic's token to a page lets its reader see the topic: name only what is theirs.
    """
    if not topics:
        topics = (f"user:{owner_of_request(context['request'], create=True)}",)
    return make_token(topics)[0]
