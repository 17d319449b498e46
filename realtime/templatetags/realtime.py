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

    Without topics it is empty for a visitor who has started nothing yet, in this request or an
    earlier one: a public page must not begin a session for everybody who reads it. Whoever reads
    the page can see the topics of its token: name only what is theirs.
    """
    named = topics or tuple(filter(None, [owner_topic(context["request"], create=False)]))
    return make_token(named)[0] if named else ""
