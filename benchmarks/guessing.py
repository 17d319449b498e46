"""Whether the time of an answer tells a foreign task from one that does not exist.

    python -m benchmarks.guessing

Both get the same bytes. A signed-in user asks for a thousand of each, in turns; the medians must
be within 5 % of each other.
"""

from __future__ import annotations

import http.client
import random
import statistics
import sys
import time
import uuid
from collections.abc import Sequence
from urllib.parse import urlsplit

ROUNDS = 1000
#: The larger median over the smaller one, at most.
TOLERANCE = 1.05


def compare(
    url: str, session: str, foreign: Sequence[str], missing: Sequence[str]
) -> tuple[float, float]:
    """Return the medians, in seconds, of the answers about both kinds of tasks."""
    headers = {"Cookie": f"sessionid={session}"} if session else {}
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)

    def ask(task_id: str) -> float:
        begun = time.perf_counter()
        connection.request("GET", f"/realtime/tasks/{task_id}/", headers=headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 404:
            raise RuntimeError(f"{answer.status} instead of 404")
        return time.perf_counter() - begun

    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(20):
        ask(missing[0])  # warm
    for pair in zip(foreign, missing, strict=True):
        # Whichever is first in a pair may be slower or faster for it.
        for which in random.sample((0, 1), 2):
            times[which].append(ask(pair[which]))
    connection.close()
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> int:
    """Measure, print, and return 1 if the medians are further apart than they may be."""
    from .peers import REALTIME, peer_named
    from .stage import QUICK, stage

    with stage(QUICK) as there:
        server = there.serve(peer_named(REALTIME))
        try:
            from django.contrib.auth.models import User
            from django.test import Client

            from realtime.core.change import Change
            from realtime.store import get_store

            client = Client()
            client.force_login(User.objects.create_user("somebody else"))
            foreign = [str(uuid.uuid4()) for _ in range(ROUNDS)]
            for task_id in foreign:
                get_store().accept(Change(task_id=task_id, state="STARTED", owner="another"))
            missing = [str(uuid.uuid4()) for _ in range(ROUNDS)]
            session = client.cookies["sessionid"].value
            one, other = compare(f"http://127.0.0.1:{server.port}", session, foreign, missing)
        finally:
            there.close()
    ratio = max(one, other) / min(one, other)
    print(f"median of {ROUNDS} answers: foreign {one * 1000:.3f} ms, missing {other * 1000:.3f} ms")
    print(f"ratio {ratio:.3f}, at most {TOLERANCE}: {'met' if ratio <= TOLERANCE else 'NOT MET'}")
    return 0 if ratio <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
