"""The project's settings for the process that runs the tests, with a data folder of its own.

The checkout's `.data` belongs to `make run`: its Redis would be the one that the tests use.
"""

import atexit
import os
import shutil
import tempfile

if not os.environ.get("DATA_DIR"):
    # In the environment, so that the other processes of pytest-xdist share it.
    os.environ["DATA_DIR"] = tempfile.mkdtemp(prefix="tests-")
    atexit.register(shutil.rmtree, os.environ["DATA_DIR"], ignore_errors=True)

from project.settings import *  # noqa: F403 - it reads the environment
