"""Texts that describe a status, in the page's language. ``texts.mjs`` has the same texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.utils.translation import pgettext

from realtime.core.status import Status


def _texts(translate: Callable[[str, str], str]) -> dict[str, str]:
    # Each text is written where it is translated, so that makemessages finds it.
    pgettext = translate
    return {
        "PENDING": pgettext("task state", "waiting"),
        "RECEIVED": pgettext("task state", "received"),
        "RETRY": pgettext("task state", "waiting to be tried again"),
        "STALLED": pgettext("task state", "the worker does not answer"),
        "SUCCESS": pgettext("task state", "succeeded"),
        "FAILURE": pgettext("task state", "failed"),
        "REVOKED": pgettext("task state", "cancelled"),
        "LOST": pgettext("task state", "lost"),
        "running": pgettext("task state", "running"),
        "cancelling": pgettext("task state", "cancelling"),
        "gone": pgettext("task state", "not known any more"),
        "count": pgettext("task progress", "{current} of {total}"),
        "progress": pgettext("task progress", "Progress"),
        "offline": pgettext("connection", "not connected"),
        "delayed": pgettext("connection", "updates are delayed"),
    }


def _untranslated(_context: str, text: str) -> str:
    return text


#: The texts in English, as in the element.
TEXTS: Final = _texts(_untranslated)


def translated_texts() -> dict[str, str]:
    """Return the texts that differ from :data:`TEXTS` in the active language."""
    return {key: text for key, text in _texts(pgettext).items() if text != TEXTS[key]}


def number_text(number: float) -> str:
    """Return a number as JavaScript shows it: a whole one without decimals."""
    return str(int(number) if abs(number) < 2**53 and number == int(number) else number)


def describe(status: Status) -> str:
    """Describe a status in one line, in the active language."""
    texts = TEXTS | translated_texts()
    # A task may call its states anything: the keys in lower case are not states.
    known = status.state if status.state[:1].isupper() else "running"
    ending = status.cancelling and not status.terminal
    state = texts["cancelling"] if ending else texts.get(known, texts["running"])
    if status.error:
        return f"{state}: {status.error['message'] or status.error['type']}"
    if not status.progress or status.terminal:
        return state
    current, total = status.progress["current"], status.progress["total"]
    count = "" if current is None else number_text(current)
    if current is not None and total is not None:
        count = texts["count"].replace("{current}", count).replace("{total}", number_text(total))
    details = ", ".join(filter(None, [count, status.progress["message"]]))
    return f"{state}: {details}" if details else state
