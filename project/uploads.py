"""Uploaded files: how large they may be, and where they are kept.

They lie in MEDIA_ROOT (`DATA_DIR/uploads`), what tasks make of them in `DATA_DIR/results`;
nothing here removes them.
"""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest

MAX_BYTES = 10_000_000  #: of all files of one upload together
MAX_FILES = 10
TOO_LARGE = f"That is more than {MAX_BYTES // 1_000_000} MB. Nothing was started."

# The boundaries, the names and the other fields of the form.
_ROOM_FOR_THE_FORM = 64 * 1024


def is_too_large(request: HttpRequest) -> bool:
    """Say whether a request announces more than an upload may have; its body is not read.

    What announces no length has no files for Django either.
    """
    try:
        announced = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return False
    return announced > MAX_BYTES + _ROOM_FOR_THE_FORM


def store(upload: UploadedFile[bytes]) -> Path:
    """Keep an uploaded file in MEDIA_ROOT under a random name and return its path."""
    folder = Path(settings.MEDIA_ROOT)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / uuid4().hex
    with path.open("xb") as file:
        for chunk in upload.chunks():
            file.write(chunk)
    return path
