"""Measure whether the time of an answer reveals that another user's task exists.

    python -m benchmarks.guessing

A signed-in user requests a thousand tasks of another user and a thousand unknown ids, in turns.
Both get the same bytes; the median times must be within 5 % of each other.
"""

from __future__ import annotations

import sys
import uuid

from tests.client.over_http import median_seconds

ROUNDS = 1000
#: The largest ratio of the two medians.
TOLERANCE = 1.05


def main() -> int:
    """Measure, print, and return 1 if the ratio exceeds the tolerance."""
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
            unknown = [str(uuid.uuid4()) for _ in range(ROUNDS)]
            session = client.cookies["sessionid"].value
            one, other = median_seconds(
                f"http://127.0.0.1:{server.port}", session, foreign, unknown
            )
        finally:
            there.close()
    ratio = max(one, other) / min(one, other)
    print(f"median of {ROUNDS}: another user's {one * 1000:.3f} ms, unknown {other * 1000:.3f} ms")
    print(f"ratio {ratio:.3f}, at most {TOLERANCE}: {'met' if ratio <= TOLERANCE else 'NOT MET'}")
    return 0 if ratio <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
