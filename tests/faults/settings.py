"""The project's settings, with what the environment says instead.

FAULTS_SETTINGS is a JSON object of settings; REALTIME in it is laid over the project's.
"""

import json
import os

from project.settings import *  # noqa: F403
from project.settings import REALTIME

_given = json.loads(os.environ.get("FAULTS_SETTINGS") or "{}")
_given["REALTIME"] = REALTIME | _given.get("REALTIME", {})
globals().update(_given)
