"""The project's settings, with those of the environment over them.

FAULTS_SETTINGS is a JSON object of settings; REALTIME in it is laid over the project's.
"""

import json
import os

if os.environ.get("FAULTS_NEXT"):
    from .next_release import become_next

    become_next()  # before anything of the service is imported

from project.settings import *  # noqa: F403
from project.settings import REALTIME

from . import timing  # noqa: F401 - connects receivers, and must be the first to do so

_given = json.loads(os.environ.get("FAULTS_SETTINGS") or "{}")
#: All the clients come from one address.
_ONE_ADDRESS = {"MAX_CONNECTIONS_PER_ADDRESS": 10_000}
_given["REALTIME"] = REALTIME | _ONE_ADDRESS | _given.get("REALTIME", {})
globals().update(_given)
