"""Leaves a mark when it is imported, which nobody does."""

import os
from pathlib import Path


class Telltale(Exception):
    """What a forged result names."""


Path(os.environ["DATA_DIR"], "imported").touch()
