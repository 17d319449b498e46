"""Write a file completely, or not at all."""

import os
import tempfile
from pathlib import Path


def write_whole(path: Path, data: bytes) -> int:
    """Write `data` to `path` and return the number of bytes.

    A task can be killed at any instruction, so the bytes are written to a temporary file first:
    `path` is either missing or complete.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise
    return len(data)
