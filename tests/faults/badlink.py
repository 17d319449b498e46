"""`python -m tests.faults.badlink`: the project's web process, whose messages from Redis come over
a bad link.
"""

from __future__ import annotations

from typing import Any

from project.web import main
from realtime.groups import receiver

from .layer import BadLink

_with_receiver = receiver.with_receiver


def with_receiver(host: dict[str, Any], receive: receiver.Receive) -> dict[str, Any]:
    """Return the host as the service does, with a bad link before ``receive``."""
    return _with_receiver(host, BadLink(receive))


if __name__ == "__main__":
    receiver.with_receiver = with_receiver
    try:
        main()
    finally:
        print(f"passed {BadLink.counts['passed']} of {BadLink.counts['arrived']}", flush=True)
