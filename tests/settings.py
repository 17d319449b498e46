"""The project's settings, with keys of REALTIME from the environment, as JSON.

For the services that tests start.
"""

import json
import os

from project.settings import *  # noqa: F403
from project.settings import REALTIME

#: All the clients of all the tests come from one address.
ONE_ADDRESS = {"CONNECTIONS_PER_ADDRESS": 1000}

REALTIME = REALTIME | ONE_ADDRESS | json.loads(os.environ.get("REALTIME", "{}"))
