"""Compare this tree with an earlier commit: the same works on both, in interleaved pairs.

    python -m benchmarks.pairs --base COMMIT [--pairs 20] [--only publish,no-op,one]

Each side is a process of its own, with a Redis, a worker and a server of its tree. A pair is one
round of each side, in alternating order. The command prints the ratio of this tree to the base: the
geometric mean of the pairs and its 95 % interval (bootstrap with 10,000 resamples). It exits with 1
if a whole interval is above the limit.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

#: By work, the figure of one round. Less is better.
WORKS = {
    "publish": "CPU µs a publish",
    "no-op": "ms a no-op task",
    "delivery": "CPU µs a delivery to one of 200 sockets",
    "one": "CPU µs an event to one of 1,000 sockets",
    "memory": "KiB an idle socket",
    "handshakes": "CPU ms a handshake, signed in and subscribed",
}
#: The highest ratio of this tree to the base that passes.
LIMIT = 1.03
CALLS = 300  #: publishes in a round
TASKS = 150  #: no-op tasks in a round
SOCKETS = 200  #: subscribers of one task
SECONDS = 0.4  #: length of a round of deliveries
MANY = 1000  #: sockets, of which one receives each event
PUBLISHERS = 100  #: sockets of these whose tasks are published
IDLE = 500  #: sockets whose memory is measured
BURST = 200  #: handshakes in a round
RESAMPLES = 10_000


def main(arguments: Sequence[str]) -> int:
    """Measure the pairs, print the ratios, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pairs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base", default="", help="the commit to compare with")
    parser.add_argument("--pairs", type=int, default=20, help="pairs of each work (default: 20)")
    parser.add_argument("--only", default=",".join(WORKS), help=f"some of {','.join(WORKS)}")
    parser.add_argument("--side", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.side:
        return serve()
    if not options.base:
        parser.error("name the commit to compare with: --base COMMIT")
    root, verdicts = Path(__file__).resolve().parent.parent, []
    with TemporaryDirectory() as directory, ExitStack() as stack:
        unpack(options.base, root, Path(directory))
        sides = [stack.enter_context(side(tree)) for tree in (root, Path(directory))]
        for work in options.only.split(","):
            rounds = list(pairs(sides, work, options.pairs))
            verdicts.append(report(work, rounds, options.base))
    return 0 if all(verdicts) else 1


def unpack(commit: str, root: Path, into: Path) -> None:
    """Write the tree of a commit into an empty folder."""
    packed = subprocess.run(
        ["git", "archive", "--format=tar", commit], cwd=root, capture_output=True, check=True
    )
    # Not `tarfile`: the first releases of Python 3.11 lack its safe filter.
    subprocess.run(["tar", "-x", "-C", str(into)], input=packed.stdout, check=True)


#: Measures one round of a work; returns its figure.
Measure = Callable[[str], float]


@contextmanager
def side(tree: Path) -> Iterator[Measure]:
    """Start a process that measures one tree; yield a function that measures one round."""
    env = {**os.environ, "PYTHONPATH": str(tree)}
    # Without -P Python would import `benchmarks` from this file's tree, for both sides.
    command = [sys.executable, "-P", __file__, "--side"]
    process = subprocess.Popen(
        command, cwd=tree, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    requests, answers = process.stdin, process.stdout

    def measure(work: str) -> float:
        requests.write(f"{work}\n")
        requests.flush()
        answer = answers.readline()
        if not answer:
            raise RuntimeError(f"the process that measures {tree} has ended")
        return float(json.loads(answer))

    try:
        yield measure
    finally:
        requests.close()
        process.wait(timeout=60)


def pairs(sides: Sequence[Measure], work: str, count: int) -> Iterator[tuple[float, float]]:
    """Yield `count` pairs: the figure of this tree, and that of the base."""
    for measure in sides:
        measure(work)  # to warm up
    for number in range(count):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        found = {which: sides[which](work) for which in order}
        yield found[0], found[1]


def report(work: str, rounds: Sequence[tuple[float, float]], base: str) -> bool:
    """Print the ratio of a work; return False if its whole interval is above the limit."""
    logs = [math.log(now / before) for now, before in rounds]
    least, most = interval(logs)
    mean = math.exp(sum(logs) / len(logs))
    medians = [sorted(each)[len(rounds) // 2] for each in zip(*rounds, strict=True)]
    passed = least <= LIMIT
    print(
        f"{WORKS[work]}: {medians[0]:.1f}, at {base} {medians[1]:.1f} (medians of {len(rounds)});"
        f" ratio {mean:.3f}, 95 % interval {least:.3f} to {most:.3f}:"
        f" {'within' if passed else 'ABOVE'} {LIMIT}",
        flush=True,
    )
    return passed


def interval(logs: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the geometric mean, by the bootstrap."""
    random.seed(1)
    count = len(logs)
    means = sorted(sum(random.choices(logs, k=count)) / count for _ in range(RESAMPLES))
    return math.exp(means[RESAMPLES * 25 // 1000]), math.exp(means[RESAMPLES * 975 // 1000])


# The code below runs in the process of each side, so it uses only names of `benchmarks` that both
# trees have.


def serve() -> int:
    """For each line of stdin, the name of a work, measure a round and print its figure."""
    from benchmarks.stage import QUICK, stage

    # What libraries print must not come between the figures.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with stage(QUICK) as there:
        works: dict[str, Callable[[], float]] = {}
        made: dict[str, Callable[[Any], Callable[[], float]]] = {
            "publish": _publish,
            "no-op": _no_op,
            "delivery": _delivery,
            "one": _one,
            "memory": _memory,
            "handshakes": _handshakes,
        }
        try:
            for line in sys.stdin:
                work = line.strip()
                if work not in works:
                    works[work] = made[work](there)
                answers.write(f"{json.dumps(works[work]())}\n")
                answers.flush()
        finally:
            there.close()
    return 0


def _publish(there: Any) -> Callable[[], float]:
    from benchmarks import peers
    from benchmarks.peers import peer_named
    from benchmarks.tasks import publish

    way = peers.REALTIME
    there.worker(peer_named(way).way, "publish")
    return lambda: float(publish.apply_async((way, CALLS), queue="publish").get(timeout=120)["cpu"])


def _no_op(there: Any) -> Callable[[], float]:
    from benchmarks import peers
    from benchmarks.peers import peer_named
    from benchmarks.works.tasks import NO_OP, rate

    there.worker(peer_named(peers.REALTIME).way, "tasks", children=2)
    return lambda: 1000 / rate(["tasks"], NO_OP, TASKS)


def _delivery(there: Any) -> Callable[[], float]:
    from benchmarks import peers
    from benchmarks.peers import peer_named
    from benchmarks.sockets import Sockets
    from benchmarks.works.delivery import Crowd

    peer = peer_named(peers.REALTIME)
    crowd = Crowd(Sockets(), peer, there.serve(peer), SOCKETS, there)
    crowd.warm()
    return lambda: float(crowd.round(SECONDS)[0])


def _one(there: Any) -> Callable[[], float]:
    from benchmarks import machine, peers
    from benchmarks.peers import peer_named
    from benchmarks.sample import next_message
    from benchmarks.sockets import Sockets

    peer = peer_named(peers.REALTIME)
    server, sockets = there.serve(peer), Sockets()
    idents = [peer.ident() for _ in range(MANY)]
    hellos = [peer.hello(server, ident, there.session) for ident in idents]
    crowd = sockets.open(server.port, hellos, stream=peer.stream)
    publishers = [peer.publisher(ident) for ident in idents[:PUBLISHERS]]

    def measure() -> float:
        machine.rest(server.pids)
        cpu = machine.cpu_time(server.pids)
        for publish in publishers:
            sockets.deliver(next_message(), publish, crowd, count=1)
        return float(machine.cpu_time(server.pids) - cpu) / PUBLISHERS

    return measure


def _memory(there: Any) -> Callable[[], float]:
    from benchmarks import machine, peers
    from benchmarks.peers import peer_named
    from benchmarks.sockets import Sockets

    peer = peer_named(peers.REALTIME)

    def measure() -> float:
        # Each round has a new server: an old one would use its freed memory again.
        server, sockets = there.serve(peer), Sockets()
        opened = []
        for count in (5, IDLE):  # the first ones also allocate what all sockets share
            before = machine.memory(server.pids)
            hellos = [peer.hello(server, peer.ident(), there.session) for _ in range(count)]
            opened.append(sockets.open(server.port, hellos, stream=peer.stream))
            machine.rest(server.pids)
        each = float(machine.memory(server.pids) - before) / IDLE
        sockets.close()
        for pid in server.pids:
            os.kill(pid, signal.SIGTERM)
        return each

    return measure


def _handshakes(there: Any) -> Callable[[], float]:
    from benchmarks import machine, peers
    from benchmarks.peers import peer_named
    from benchmarks.sockets import Sockets

    peer = peer_named(peers.REALTIME)
    server = there.serve(peer)

    def measure() -> float:
        machine.rest(server.pids)
        sockets = Sockets()
        hellos = [peer.hello(server, peer.ident(), there.session) for _ in range(BURST)]
        cpu = machine.cpu_time(server.pids)
        sockets.open(server.port, hellos, at_once=BURST, stream=peer.stream)
        cpu = machine.cpu_time(server.pids) - cpu
        sockets.close()
        return float(cpu) / 1000 / BURST

    return measure


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
