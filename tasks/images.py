"""Make thumbnails of uploaded images."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

from celery import Task, shared_task
from PIL import Image, ImageOps, UnidentifiedImageError

from realtime import set_progress, track
from tasks.files import write_whole
from tasks.pace import pause

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
SIZES = (640, 320, 96)  #: pixels of the longer side
MAX_PIXELS = 40_000_000  #: of an input; a small file can unpack to gigabytes


class ImageError(ValueError):
    """The file is not a usable image. The message gives the user the reason."""


@shared_task(bind=True)
def make_thumbnails(
    self: Task[..., Any],
    paths: list[str],
    *,
    into: str,
    names: list[str] | None = None,
    sizes: Sequence[int] = SIZES,
    pace: float = 0.0,
) -> dict[str, Any]:
    """Make a thumbnail in each of the `sizes` of each image, in the folder `into`.

    `names` are the user's names of the files, `pace` the seconds to wait at each image.
    Returns the new files, and the refused inputs with the reasons. Raises `ImageError`
    if no input can be used.
    """
    job = self.request.id or uuid4().hex
    made: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    named = list(zip(paths, names or [Path(path).name for path in paths], strict=True))
    for number, (path, name) in enumerate(track(named, message="making thumbnails"), 1):
        try:
            image = open_image(path)
        except ImageError as error:
            refused.append({"name": name, "reason": str(error)})
        else:
            for size in sizes:
                small = image.copy()
                # Never larger than the image: thumbnail() only shrinks.
                small.thumbnail((size, size))
                data, extension = _encode(small)
                file = Path(into) / f"{job}-{number}-{size}.{extension}"
                made.append(
                    {
                        "name": name,
                        "file": file.name,
                        "size": f"{small.width}x{small.height}",
                        "bytes": write_whole(file, data),
                    }
                )
        pause(pace)
    if refused and not made:
        reasons = "; ".join(f"{each['name']}: {each['reason']}" for each in refused)
        raise ImageError(f"No thumbnail could be made. {reasons}")
    set_progress(len(paths), len(paths), message=f"{len(made)} files made, {len(refused)} refused")
    return {"images": len(paths) - len(refused), "made": made, "refused": refused}


def open_image(source: Any) -> Image.Image:
    """Decode an image from a path or a binary file, in its EXIF orientation.

    Raises `ImageError` for another format, a damaged file, or more than `MAX_PIXELS`.
    """
    with _opened(source) as image:
        return ImageOps.exif_transpose(image).convert(
            "RGBA" if image.has_transparency_data else "RGB"
        )


def check_image(source: Any) -> None:
    """Raise `ImageError` if the header is not that of a usable image. Nothing is decoded."""
    with _opened(source):
        pass


@contextmanager
def _opened(source: Any) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            # Pillow only warns about a moderately large image; our limit is lower.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(source, formats=FORMATS)
        with image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(
                    f"It has {image.width}x{image.height} pixels;"
                    f" {MAX_PIXELS // 1_000_000} megapixels are allowed."
                )
            yield image
    except UnidentifiedImageError as error:
        formats = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise ImageError(f"It is not a {formats} image.") from error
    except Image.DecompressionBombError as error:
        raise ImageError("It has too many pixels.") from error
    except ImageError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, MemoryError) as error:
        raise ImageError("It is damaged and cannot be read.") from error


def _encode(image: Image.Image) -> tuple[bytes, str]:
    buffer = BytesIO()
    if image.mode == "RGBA":
        image.save(buffer, "PNG", optimize=True)
        return buffer.getvalue(), "png"
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue(), "jpg"
