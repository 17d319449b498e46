"""Every kind of canvas, from a web process and from inside a task: whose its tasks are, and that
each of them ends, also those that never run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import chain, chord, group
from celery.utils import uuid

from project.celery import app
from realtime.core.topics import Topic
from realtime.ownership import owner_from
from realtime.store import get_store
from tests.field.conftest import LONG
from tests.field.shape_tasks import (
    apply_in,
    cb,
    die,
    direct,
    eb1,
    eb3,
    fail,
    flaky,
    ign,
    mul,
    ok,
    publish,
    repl,
    slow,
    spawn,
)
from tests.field.workers import Workers, workers
from tests.until import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def two() -> list[Any]:
    return [ok.si(), ok.si()]


def stamped(canvas: Any) -> Any:
    canvas.stamp(flow="F")
    return canvas.delay()


def revoked(canvas: Any, which: Callable[[Any], str], **options: Any) -> Any:
    result = canvas.delay()
    time.sleep(0.3)
    app.control.revoke(which(result), **options)
    return result


def revoked_group(canvas: Any) -> Any:
    result = canvas.delay()
    time.sleep(0.3)
    result.revoke()
    return result


def expiring() -> Any:
    return chord([slow.si(s=0.5), ok.si(), ok.si().set(expires=0.001)])(ok.si())


def twice(canvas: Any) -> Any:
    canvas.delay()
    return canvas.delay()


#: What publishes each, and how many tasks get an id: those that are started by tasks, too.
SHAPES: dict[str, tuple[Callable[[], Any], int]] = {
    "single": (lambda: ok.delay(), 1),
    "chain3": (lambda: chain(ok.si(), *two()).delay(), 3),
    "group3": (lambda: group(ok.si(), *two()).delay(), 3),
    "chord3": (lambda: chord([ok.si(), *two()])(ok.si()), 4),
    "chain group task": (lambda: chain(group(two()), ok.si()).delay(), 3),
    "chain task group task": (lambda: chain(ok.si(), group(two()), ok.si()).delay(), 4),
    "group of chains": (lambda: group(chain(*two()), chain(*two())).delay(), 4),
    "chord of chains": (lambda: chord([chain(*two()), chain(*two())])(ok.si()), 5),
    "chord in header": (lambda: chord([chord(two(), ok.si()), ok.si()])(ok.si()), 5),
    "group in group": (lambda: group(group(two()), ok.si()).delay(), 3),
    "chord in group": (lambda: group(chord(two(), ok.si()), ok.si()).delay(), 4),
    "chain end group": (lambda: chain(ok.si(), group(two())).delay(), 3),
    "group of chain end group": (
        lambda: group(chain(ok.si(), group(two())), ok.si()).delay(),
        4,
    ),
    "body chain": (lambda: chord(two())(chain(*two())), 4),
    "body group": (lambda: chord(two())(group(two())), 4),
    "body chord": (lambda: chord(two())(chord(two(), ok.si())), 5),
    "group then group": (lambda: (group(two()) | group(two())).delay(), 4),
    "chord chord chain": (
        lambda: chain(group(two()), ok.si(), group(two()), ok.si()).delay(),
        6,
    ),
    "map": (lambda: ok.map([1, 2, 3]).delay(), 1),
    "starmap": (lambda: mul.starmap([(1, 2), (3, 4)]).delay(), 1),
    "chunks group": (lambda: mul.chunks(zip(range(6), range(6)), 2).group().delay(), 3),  # noqa: B905
    "chunks delay": (
        lambda: mul.chunks([(n, n) for n in range(6)], 2).apply_async(),
        3,
    ),
    "chunks in chain": (
        lambda: chain(ok.si(), mul.chunks([(n, n) for n in range(4)], 2)).delay(),
        4,
    ),
    "link": (lambda: ok.apply_async(link=cb.s()), 2),
    "link2": (lambda: ok.apply_async(link=[cb.s(), cb.si()]), 3),
    "link chain": (lambda: ok.apply_async(link=chain(cb.si(), cb.si())), 3),
    "link error1": (lambda: fail.apply_async(link_error=eb1.s()), 2),
    "link errors": (lambda: fail.apply_async(link_error=[eb1.s(), eb1.s(), eb3.s()]), 3),
    "link error3": (lambda: fail.apply_async(link_error=eb3.s()), 1),
    "chain link": (lambda: chain(*two()).apply_async(link=cb.s(), link_error=eb1.s()), 3),
    "repl task": (lambda: repl.delay(kind="task"), 1),
    "repl chain": (lambda: repl.delay(kind="chain"), 2),
    "repl group": (lambda: repl.delay(kind="group"), 3),
    "repl chord": (lambda: repl.delay(kind="chord"), 3),
    "repl in chain": (lambda: chain(repl.si(kind="group"), ok.si()).delay(), 4),
    "repl chaingroup": (lambda: repl.delay(kind="chaingroup"), 4),
    "spawn": (lambda: spawn.delay(), 6),
    "stamp": (lambda: stamped(chain(ok.si(), group(two()), ok.si())), 4),
    "stamp single spawn": (lambda: stamped(spawn.s()), 6),
    "stamp repl": (lambda: stamped(chain(repl.si(kind="group"), ok.si())), 4),
    "stamp retry": (lambda: stamped(flaky.s()), 1),
    "stamp links": (lambda: stamped(fail.si().set(link_error=[eb1.s()])), 2),
    "stamp chord": (lambda: stamped(chord(two(), chain(*two()))), 4),
    "headers option chain": (
        lambda: chain(ok.si(), *two()).apply_async(headers={"hopt": "H"}),
        3,
    ),
    "headers option group": (lambda: group(two()).apply_async(headers={"hopt": "H"}), 2),
    "headers option chord": (
        lambda: chord(two(), chain(*two())).apply_async(headers={"hopt": "H"}),
        4,
    ),
    "group countdown": (lambda: group(two()).apply_async(countdown=1), 2),
    "revoke one of chord": (
        lambda: revoked(
            chord([slow.si(s=1) for _ in range(8)], ok.si()), lambda r: r.parent.results[7].id
        ),
        9,
    ),
    "expires member": (expiring, 4),
    "revoke mid chain": (
        lambda: revoked(chain(slow.si(s=1), ok.si(), ok.si()), lambda r: r.parent.id),
        3,
    ),
    "terminate chain first": (
        lambda: revoked(chain(slow.si(s=5), *two()), lambda r: r.parent.parent.id, terminate=True),
        3,
    ),
    "group revoke": (lambda: revoked_group(group([slow.si(s=1) for _ in range(4)])), 4),
    "chain fail first": (lambda: chain(fail.si(), *two()).delay(), 3),
    "chain fail mid": (lambda: chain(ok.si(), fail.si(), ok.si()).delay(), 3),
    "chain fail last": (lambda: chain(*two(), fail.si()).delay(), 3),
    "chord fail header": (lambda: chord([fail.si(), slow.si(s=0.5), ok.si()])(ok.si()), 4),
    "chord fail header linkerr": (
        lambda: chord([fail.si(), ok.si()], ok.si().on_error(eb1.s())).delay(),
        4,
    ),
    "chord fail body": (lambda: chord(two())(fail.si()), 3),
    "chord body group fail": (lambda: chord([fail.si(), ok.si()])(group(two())), 4),
    "chord body chain fail": (lambda: chord([fail.si(), ok.si()])(chain(*two())), 4),
    "chain fail before chord": (lambda: chain(fail.si(), group(two()), ok.si()).delay(), 4),
    "die in chain": (lambda: chain(die.si(), ok.si()).apply_async(link_error=eb1.s()), 3),
    "die in chord": (lambda: chord([die.si(), ok.si()], ok.si().on_error(eb1.s())).delay(), 4),
    "ignore in chain": (lambda: chain(ign.si(), ok.si()).delay(), 2),
    "group fail": (lambda: group(fail.si(), ok.si()).delay(), 2),
    "nested header fail": (
        lambda: chord([chord([fail.si(), ok.si()], ok.si()), slow.si(s=0.5)])(ok.si()),
        5,
    ),
    "retry chain": (lambda: chain(flaky.si(), ok.si()).delay(), 2),
    "retry chord": (lambda: chord([flaky.si(), ok.si()])(ok.si()), 3),
    "empty group": (lambda: group([]).delay(), 0),
    "group of one": (lambda: group([ok.si()]).delay(), 1),
    "chord empty": (lambda: chord([], ok.si()).delay(), 1),
    "chain group one": (lambda: chain(ok.si(), group([ok.si()]), ok.si()).delay(), 3),
    "chain empty group mid": (lambda: chain(ok.si(), group([]), ok.si()).delay(), 2),
    "chord header one": (lambda: chord([ok.si()], ok.si()).delay(), 2),
    "chain of one": (lambda: chain(ok.si()).delay(), 1),
    "empty chain": (lambda: chain().delay(), 0),
    "repl in header chain": (lambda: chord([repl.si(kind="chain"), ok.si()])(ok.si()), 4),
    "repl in header group": (lambda: chord([repl.si(kind="group"), ok.si()])(ok.si()), 5),
    "repl in header chord": (lambda: chord([repl.si(kind="chord"), ok.si()])(ok.si()), 5),
    "chord in task with id": (lambda: chord(two(), ok.si()).apply_async(task_id=uuid()), 3),
    "group with id": (lambda: group(two()).apply_async(task_id=uuid()), 2),
    "chain with id": (lambda: chain(*two()).apply_async(task_id=uuid()), 2),
    "gen group": (lambda: group(ok.si() for _ in range(4)).delay(), 4),
    "gen chord": (lambda: chord((ok.si() for _ in range(4)), ok.si()).delay(), 5),
    "reuse group": (lambda: twice(group(two())), 4),
    "direct call": (lambda: direct.delay(), 6),
    "body spawns": (lambda: chord(two())(chain(spawn.si(), ok.si())), 9),
    "apply inside": (lambda: apply_in.delay(), 6),
}
SHORT = (
    "chord of chains",
    "body chord",
    "chunks in chain",
    "link errors",
    "repl in header group",
    "chord body group fail",
    "expires member",
    "retry chord",
    "body spawns",
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with workers(tmp_path_factory) as made:
        made.start(2, CELERY_IMPORTS="tests.field.shape_tasks")
        yield made


def test_every_task_of_every_canvas_has_its_owner_and_ends(running: Workers) -> None:
    expected: dict[str, int] = {}
    for shape in SHAPES if LONG else SHORT:
        start, total = SHAPES[shape]
        for inside in (0, 1):
            owner = f"{shape}, {'inside' if inside else 'outside'}"
            expected[owner] = total + inside
            with owner_from(lambda owner=owner: owner):
                publish.delay(shape) if inside else start()

    def unsettled() -> dict[str, Any]:
        wrong: dict[str, Any] = {}
        for owner, total in expected.items():
            found = get_store().statuses(Topic("user", owner))
            if not all(s.terminal for s in found) or len(found) != total:
                wrong[owner] = (total, [(s.name, s.state) for s in found])
        return wrong

    until(lambda: not unsettled(), 60)
    assert unsettled() == {}
    log = running.started[0].log()
    for complaint in ("internal_error", "Signal handler", "not_pushed", "publish_failed"):
        assert complaint not in log
