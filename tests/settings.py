"""The project's settings, with keys of REALTIME from the environment, as JSON.

For services that a test starts with `DJANGO_SETTINGS_MODULE="tests.settings"`.
"""

import json
import os

from project.settings import *  # noqa: F403
from project.settings import REALTIME

REALTIME = REALTIME | json.loads(os.environ.get("REALTIME", "{}"))
