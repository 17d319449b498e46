"""Restarts, a killed process, and clients that are all cut, under load; judged by the oracle."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.faults.stage import require
from tests.percentile import percentile
from tests.until import until

from .crowd import crowd, deliveries
from .report import Row
from .stage import LoadStage


def restarts(stage: LoadStage) -> Iterator[Row]:
    """Ten rolling restarts of two processes under load."""
    count, rounds, rate = (1000, 10, 10.0) if stage.long else (40, 2, 20.0)
    tasks = 3000 if stage.long else 400
    quick = {} if stage.long else {"DRAIN_SECONDS": 0.5}
    with (
        stage.serving(2, **quick) as webs,
        crowd(stage, [web.port for web in webs], count, tasks, rate) as made,
        ThreadPoolExecutor(1) as pool,
    ):
        codes_of_exit: list[int] = []

        def restart_all() -> None:
            codes_of_exit.extend(webs[number % 2].restart() for number in range(rounds))

        began = time.monotonic()
        restarting = pool.submit(restart_all)
        made.send_while(restarting.done)
        restarting.result()
        took = time.monotonic() - began
        back = made.all_back()
        verdict = made.batch.judge(deliver=30)
        closes = Counter(code for client in made.clients for code in client.codes)
        away = [seconds for client in made.clients for seconds in client.away]
        refused = sum(client.refused for client in made.clients)
    size = f"{rounds} restarts in {took:.0f} s, {count:,} clients"
    yield Row(
        "d1",
        "rolling restarts: close codes",
        size,
        ", ".join(f"{n:,} x {code}" for code, n in closes.most_common()),
        "all 1012",
        set(closes) == {1012},
    )
    yield Row(
        "d2",
        "rolling restarts: exit codes",
        size,
        f"{codes_of_exit}",
        "0",
        not any(codes_of_exit),
    )
    yield Row(
        "d3",
        "rolling restarts: clients that reconnected",
        size,
        f"p50 {percentile(away, 0.5):.1f} s, p99 {percentile(away, 0.99):.1f} s, "
        f"{refused:,} handshakes refused meanwhile",
        "all",
        back,
    )
    yield deliveries("d4", "rolling restarts: events of each client", verdict, count)


def killed(stage: LoadStage) -> Iterator[Row]:
    """One of two web processes is killed."""
    count, rate, tasks = (1000, 20.0, 800) if stage.long else (40, 20.0, 400)
    with (
        stage.serving(2) as webs,
        crowd(stage, [web.port for web in webs], count, tasks, rate) as made,
    ):
        mine = [client for client in made.clients if client.port == webs[0].port]
        began = time.monotonic()
        killed_at = 0.0

        def later() -> list[str]:
            """The tasks that they watch and that ended after the kill."""
            stage.oracle.read_log()
            truths = stage.oracle.truths
            watched = {task for client in mine for task in client.watches}
            return [task for task in watched & truths.keys() if truths[task].at > killed_at]

        def done() -> bool:
            nonlocal killed_at
            if not killed_at and time.monotonic() >= began + 2.0:
                webs[0].process.kill()
                killed_at = time.monotonic()
            # Tasks are sent until all of them were away and are back, and have missed something.
            back = bool(killed_at) and all(client.away and client.stands for client in mine)
            return back and bool(later())

        made.send_while(done)
        verdict = made.batch.judge(deliver=30)
        away = [seconds for client in mine for seconds in client.away]
        require(later(), "nothing that they watch ended after the kill")
    p99 = percentile(away, 0.99)
    yield Row(
        "e1",
        "web process killed: its clients reconnected",
        f"{len(away):,} of {count:,} clients",
        f"p50 {percentile(away, 0.5):.1f} s, p99 {p99:.1f} s, max {max(away):.1f} s",
        "p99 20 s",
        p99 <= 20 and len(away) == len(mine),
    )
    yield deliveries("e2", "web process killed: events of each client", verdict, count)


def storms(stage: LoadStage) -> Iterator[Row]:
    """All clients are cut at once, again and again, while tasks run."""
    count, rounds, rate = (2000, 20, 15.0) if stage.long else (50, 3, 20.0)
    tasks = 4000 if stage.long else 400
    with (
        stage.serving() as [web],
        crowd(stage, [web.port], count, tasks, rate, watched=2) as made,
        ThreadPoolExecutor(1) as pool,
    ):
        slowest: list[float] = []

        def cut_all() -> None:
            async def cut() -> None:
                for client in made.clients:
                    client.cut()

            def closes() -> list[int]:
                return [len(client.codes) for client in made.clients]

            for _ in range(rounds):
                began, before = time.monotonic(), closes()
                stage.fleet.call(cut())
                # Count the closes: the first clients may be back before the last one is cut.
                gone = until(
                    lambda before=before: all(
                        now > then for now, then in zip(closes(), before, strict=True)
                    ),
                    60,
                )
                require(gone, "the clients were not cut")
                back = made.all_back()
                slowest.append(time.monotonic() - began)
                if not back:
                    return

        storming = pool.submit(cut_all)
        made.send_while(storming.done)
        storming.result()
        verdict = made.batch.judge(deliver=30)
        gaps = sum(len(client.violations) for client in made.clients)
        ways = Counter(recovered for one in made.clients for _, _, recovered in one.subscribed)
        refused = sum(client.refused for client in made.clients)
        failures = sum(client.failures for client in made.clients)
    size = f"{rounds} x {count:,} clients"
    yield Row(
        "f1",
        "all clients cut at once: until all have reconnected",
        size,
        f"p50 {percentile(slowest, 0.5):.1f} s, max {max(slowest):.1f} s, {refused:,} refused",
        "25 s",
        max(slowest) <= 25,
    )
    yield Row(
        "f2",
        "all clients cut at once: gaps in a topic's events",
        size,
        f"{gaps} ({ways[True]:,} recoveries)",
        "0",
        # All but the first subscriptions come back to a history that is there.
        gaps == 0 and ways[True] >= 0.9 * rounds * count * 2,
    )
    yield Row(
        "f3",
        "all clients cut at once: requests answered `internal`",
        size,
        f"{failures:,} (the clients requested them again)",
        "0",
        failures == 0,
    )
    yield deliveries("f4", "all clients cut at once: events of each client", verdict, count)
