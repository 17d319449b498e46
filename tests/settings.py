"""The project's settings, with others and keys of REALTIME from the environment, as JSON.

For the services that tests start.
"""

import json
import os

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS, REALTIME

#: All the clients of all the tests come from one address, and some prepare for long before they
#: subscribe.
PATIENT = {"MAX_CONNECTIONS_PER_ADDRESS": 1000, "IDLE_TIMEOUT": 60}

REALTIME = REALTIME | PATIENT | json.loads(os.environ.get("REALTIME", "{}"))

# Settings of Django itself that a test gives its web process.
globals().update(json.loads(os.environ.get("DJANGO", "{}")))

if os.environ.get("CONSTANTS"):
    INSTALLED_APPS = [*INSTALLED_APPS, "tests.constants.Constants"]
