"""An app that gives constants of a service's modules other values: those of CONSTANTS, as JSON.

    start_service(CONSTANTS='{"realtime.worker.leases.LEASE": 1.5}')

For times that no setting has, and that a test would otherwise wait for.
"""

from __future__ import annotations

import json
import os
from importlib import import_module

from django.apps import AppConfig

#: A worker that is killed stalls within about 1 s, instead of 14 s.
BRIEF_LEASES = json.dumps(
    {
        "realtime.worker.leases.LEASE": 1.5,
        "realtime.worker.leases.RENEWAL": 0.3,
        "realtime.web.reconciler._CONFIRM_AFTER": 0.5,
    }
)


class Constants(AppConfig):
    """Sets them when the process has loaded its apps, which is before a worker or a server runs."""

    name = "tests.constants"

    def ready(self) -> None:
        for path, value in json.loads(os.environ["CONSTANTS"]).items():
            module, _, name = path.rpartition(".")
            found = import_module(module)
            assert hasattr(found, name), path
            setattr(found, name, value)
