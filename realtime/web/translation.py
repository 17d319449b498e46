"""A status in words, in the language of the page. ``task-progress.mjs`` has the same words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.utils.translation import pgettext

from realtime.core.status import Status


def _words(translate: Callable[[str, str], str]) -> dict[str, str]:
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


#: The words in English, as the element has them.
WORDS: Final = _words(_untranslated)


def translated_words() -> dict[str, str]:
    """Return the words that differ from :data:`WORDS` in the active language."""
    return {key: text for key, text in _words(pgettext).items() if text != WORDS[key]}


def describe(status: Status) -> str:
    """Return a status in words, in the active language."""
    words = WORDS | translated_words()
    # A task may call its states anything: those of the other words are not states.
    known = status.state if status.state[:1].isupper() else "running"
    ending = status.cancelling and not status.terminal
    word = words["cancelling"] if ending else words.get(known, words["running"])
    if status.error:
        return f"{word}: {status.error['message'] or status.error['type']}"
    if not status.progress or status.terminal:
        return word
    current, total = status.progress["current"], status.progress["total"]
    count = "" if current is None else str(current)
    if current is not None and total is not None:
        count = words["count"].replace("{current}", count).replace("{total}", str(total))
    details = ", ".join(filter(None, [count, status.progress["message"]]))
    return f"{word}: {details}" if details else word
