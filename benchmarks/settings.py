"""The project's settings, for clients that all come from one address."""

from typing import Any

from project.settings import *  # noqa: F403
from project.settings import REALTIME as _REALTIME

_MANY: dict[str, Any] = {"CONNECTIONS_PER_ADDRESS": 100_000, "CONNECTIONS": 100_000}
globals()["REALTIME"] = _REALTIME | _MANY
