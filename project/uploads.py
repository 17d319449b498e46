"""The limits and the storage of uploaded files.

Uploads are stored in MEDIA_ROOT (`DATA_DIR/uploads`), and files that tasks make in
`DATA_DIR/results`. The project never removes them.
"""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest

MAX_BYTES = 10_000_000  #: the most bytes of one upload, of all its files together
MAX_FILES = 10
TOO_LARGE = f"That is more than {MAX_BYTES // 1_000_000} MB. Nothing was started."

#: More bytes that a request may have: boundaries, names, and other fields of the form.
_ROOM_FOR_THE_FORM = 64 * 1024


def is_too_large(request: HttpRequest) -> bool:
    """Return whether a request is longer than an upload may be, without reading its body.

    Django reads no files from a request without a length.
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
