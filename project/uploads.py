"""Uploaded files: their size limits and their storage.

Uploads are in MEDIA_ROOT (`DATA_DIR/uploads`), and the files that tasks make in
`DATA_DIR/results`. Nothing removes them.
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

# For the boundaries, the names and the other fields of the form.
_ROOM_FOR_THE_FORM = 64 * 1024


def is_too_large(request: HttpRequest) -> bool:
    """Return whether a request's length exceeds an upload's, without reading its body.

    Without a length Django reads no files either.
    """
    try:
        announced = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return False
    return announced > MAX_BYTES + _ROOM_FOR_THE_FORM


def store(upload: UploadedFile[bytes]) -> Path:
    """Store an uploaded file in MEDIA_ROOT under a random name, and return its path."""
    folder = Path(settings.MEDIA_ROOT)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / uuid4().hex
    with path.open("xb") as file:
        for chunk in upload.chunks():
            file.write(chunk)
    return path
