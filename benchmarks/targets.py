"""The targets of this service: ratios within one run, each with a minimum and an aim."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from . import peers
from .report import Table, grid
from .works import own, tasks

Tables = Mapping[str, Table]


@dataclass(frozen=True)
class Target:
    """A target: `found` computes it from the table of a work, or raises KeyError."""

    claim: str
    work: str
    found: Callable[[Table], float]
    least: float
    aim: float
    shown: Callable[[float], str]
    #: Whether a higher value is better.
    more: bool = False
    #: Whether only the full numbers of sockets can show it.
    is_full: bool = False

    def meets(self, value: float, limit: float) -> bool:
        """Return whether a value meets a limit."""
        return value >= limit if self.more else value <= limit


def _ratio(column: str, ours: str, theirs: str, *cases: str) -> Callable[[Table], float]:
    """Return a function that computes the ratio of two medians: in several cases, the highest."""

    def found(table: Table) -> float:
        # The quick form measures fewer cases: leave out a case without any figure.
        known = {case for case, _ in table.rows}
        tried = [case for case in cases or ("",) if case in known]
        if not tried:
            raise KeyError(column)
        return max(
            table.median(ours, column, case) / table.median(theirs, column, case) for case in tried
        )

    return found


def _part(value: float) -> str:
    return f"1/{1 / value:.1f}".removesuffix(".0")


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _factor(value: float) -> str:
    return f"{value:.2f} ×"  # noqa: RUF001 - the sign of multiplication


def _times(value: float) -> str:
    return f"{value:.1f} ×"  # noqa: RUF001


TARGETS = (
    Target(
        "one publish, against the tutorial",
        "publish",
        _ratio("wall p50 µs", peers.REALTIME, peers.TUTORIAL),
        *(1 / 25, 1 / 35, _part),
    ),
    Target(
        "no-op tasks a second, against Celery without receivers",
        "tasks",
        _ratio("tasks/s", peers.REALTIME, "off", tasks.NO_OP),
        *(0.70, 0.80, _percent, True),
    ),
    Target(
        "50 ms tasks a second, against Celery without receivers",
        "tasks",
        _ratio("tasks/s", peers.REALTIME, "off", tasks.NAP),
        *(0.988, 0.995, _percent, True),
    ),
    Target(
        "delivery to 200 to 1,000 sockets, against the tutorial on Daphne",
        "delivery",
        _ratio("CPU µs a delivery", peers.REALTIME, peers.TUTORIAL, "200", "1000"),
        *(1 / 10, 1 / 15, _part),
    ),
    Target(
        "the same, against bare asyncio",
        "delivery",
        _ratio("CPU µs a delivery", peers.REALTIME, peers.BARE, "200", "1000"),
        *(1.3, 1.1, _factor),
    ),
    Target(
        "the same, with 5,000 sockets",
        "delivery",
        _ratio("CPU µs a delivery", peers.REALTIME, peers.BARE, "5000"),
        *(1.5, 1.2, _factor),
        is_full=True,
    ),
    Target(
        "one event to one of 1,000 sockets, against the tutorial",
        "own",
        _ratio("CPU µs an event", peers.REALTIME, peers.TUTORIAL, str(own.SIZES[0])),
        *(1 / 4, 1 / 8, _part),
    ),
    Target(
        f"the same, if {own.AT_ONCE} arrive at once",
        "own",
        _ratio("CPU µs, many at once", peers.REALTIME, peers.TUTORIAL, str(own.SIZES[0])),
        *(1 / 4, 1 / 8, _part),
    ),
    Target(
        "from a worker to one client, against bare asyncio",
        "latency",
        _ratio("p50 ms", peers.REALTIME, peers.BARE),
        *(3.0, 2.0, _times),
    ),
    Target(
        "KiB of memory an idle socket, with 1,000 to 10,000",
        "idle",
        lambda table: max(
            table.median(peers.REALTIME, "KiB each", case) for case in ("1000", "5000", "10000")
        ),
        *(18.0, 12.0, "{:.1f}".format),
        is_full=True,
    ),
    Target(
        "10,000 idle sockets, % of a core",
        "idle",
        lambda table: table.median(peers.REALTIME, "CPU % of a core", "10000"),
        *(5.0, 3.0, "{:.1f}".format),
        is_full=True,
    ),
    Target(
        "handshakes a second with sessions, against python-socketio without",
        "handshakes",
        _ratio("handshakes/s", peers.REALTIME, peers.SOCKET_IO),
        *(1.15, 1.6, _factor, True),
    ),
)


def verdicts(tables: Tables, targets: Sequence[Target]) -> tuple[list[str], bool]:
    """Return a table of the targets of these works, and whether all of them are met.

    A target whose figures are missing is not met.
    """
    rows, met = [], True
    for target in targets:
        if target.work not in tables:
            continue
        limits = (target.shown(target.least), target.shown(target.aim))
        try:
            value = target.found(tables[target.work])
        except KeyError:
            met = False
            rows.append([target.claim, "-", *limits, "NOT MEASURED"])
            continue
        good = target.meets(value, target.least)
        aimed = target.meets(value, target.aim)
        met = met and good
        verdict = "aim met" if aimed else "met" if good else "NOT MET"
        rows.append([target.claim, target.shown(value), *limits, verdict])
    return grid(("target", "found", "at least", "aim", "verdict"), rows), met
