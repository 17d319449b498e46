"""The texts of a task's card as the page is rendered. `static/demo/cards.js` updates them."""

import json
import math
from typing import Any

from realtime import Status
from realtime.web.translation import number_text

#: By Celery's name of a task, its name on the page.
NAMES = {
    "tasks.imports.import_csv": "CSV import",
    "tasks.images.make_thumbnails": "Thumbnails",
    "tasks.reports.read_part": "Report: reading columns",
    "tasks.reports.build_report": "Report: putting it together",
    "tasks.upstream.fetch_rates": "Exchange rates",
}

#: By state, its text and its tone. Any other state is one of a running task's own.
STATES = {
    "PENDING": ("waiting", "quiet"),
    "RECEIVED": ("received", "quiet"),
    "STARTED": ("running", "busy"),
    "PROGRESS": ("running", "busy"),
    "RETRY": ("retrying", "warn"),
    "STALLED": ("stalled", "warn"),
    "SUCCESS": ("succeeded", "good"),
    "FAILURE": ("failed", "bad"),
    "REVOKED": ("cancelled", "quiet"),
    "LOST": ("lost", "bad"),
}
SHOWN = 100  #: the most cards on the page, those of the newest tasks
SHORT = 12  #: a result of at most so many lines is shown open


def texts() -> dict[str, Any]:
    """Return these tables and limits for the script."""
    return {"names": NAMES, "states": STATES, "shown": SHOWN, "short": SHORT}


def card(status: Status) -> dict[str, Any]:
    """Return the values that the template of a card needs."""
    state, tone, at = _state(status)
    result = status.result
    bad_rows = result.get("bad_rows") if isinstance(result, dict) else None
    if not isinstance(bad_rows, list):  # a result that the tasks of this project do not make
        bad_rows = []
    elif bad_rows:
        result = {key: value for key, value in result.items() if key != "bad_rows"}
    text = "" if result is None else json.dumps(result, indent=2, ensure_ascii=False)
    return {
        "id": status.task_id,
        "name": NAMES.get(status.name or "", status.name or "Task"),
        "state": state,
        "tone": tone,
        "at": at,
        "published_at": status.published_at or "",
        "tries": _tries(status),
        "progress": _progress(status),
        "message": (status.progress or {}).get("message") or "",
        "error": status.error,
        "bad_rows": [_bad_row(row) for row in bad_rows],
        "result": text,
        "short": text.count("\n") < SHORT,
        "truncated": status.truncated,
        "ended": status.terminal,
    }


def _bad_row(row: Any) -> dict[str, str]:
    """Return the texts of a row; both are empty for a row of another shape."""
    cells = row if isinstance(row, dict) else {}
    return {key: _text(cells.get(key)) for key in ("line", "reason")}


def _text(value: Any) -> str:
    """Return a text as it is, and any other value as JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _state(status: Status) -> tuple[str, str, str | None]:
    """Return the state's text, its tone, and the time that belongs to the text."""
    if status.cancelling and not status.terminal:
        return "cancelling", "warn", None
    # A worker receives the next attempt at once, and waits until it is due.
    if status.state in ("RETRY", "RECEIVED") and status.retry_at:
        return "retrying at", "warn", status.retry_at
    if status.state == "RECEIVED" and status.eta:
        return "starts at", "quiet", status.eta
    return *STATES.get(status.state, ("running", "busy")), None


def _tries(status: Status) -> str:
    tries = []
    if status.attempt:
        tries.append(f"attempt {status.attempt + 1}")
    if status.run > 1:
        tries.append(f"run {status.run}")
    return ", ".join(tries)


def _progress(status: Status) -> dict[str, Any] | None:
    """Return the progress bar, without `max` for an unknown total; None if no task runs.

    A task can report any numbers: more than the total, or negative ones.
    """
    if status.terminal or status.state in ("PENDING", "RECEIVED", "RETRY", "STALLED"):
        return None
    if status.progress is None:
        return {"text": ""}
    current, total = status.progress["current"], status.progress["total"]
    if current is None or total is None or total <= 0:
        return {"text": "" if current is None else number_text(current)}
    percent = math.floor(min(max(100 * current / total, 0), 100))
    return {"value": current, "max": total, "text": f"{percent} %"}
