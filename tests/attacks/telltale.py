"""Writes a file when it is imported; the service must not import it."""

import os
from pathlib import Path


class Telltale(Exception):
    """The class that a forged result names."""


Path(os.environ["DATA_DIR"], "imported").touch()
