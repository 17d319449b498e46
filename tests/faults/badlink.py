"""`python -m tests.faults.badlink`: the project's web process, and what is taken off its connection
to Redis came over a bad link.
"""

from __future__ import annotations

from typing import Any

from project.web import main
from realtime.groups import receiver

from .layer import BadLink

_taking = receiver.taking


def taking(host: dict[str, Any], take: receiver.Take) -> dict[str, Any]:
    """Return the host as the service does, with a bad link before ``take``."""
    return _taking(host, BadLink(take))


if __name__ == "__main__":
    receiver.taking = taking
    main()
