"""The forms of the page, and the checks of what they receive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, cast

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile

from project.uploads import MAX_BYTES, MAX_FILES, TOO_LARGE, store
from tasks.images import ImageError, check_image
from tasks.imports import CsvError, inspect

SAMPLES = Path(settings.BASE_DIR) / "samples"
SLOW_SECONDS = 6.0  #: that a slow task waits in all, but at most 1 s at each step


class StartForm(forms.Form):
    """Starts a task with uploaded or with sample files, slowly if the visitor chose so."""

    sample_files: ClassVar[list[Path]]

    sample = forms.CharField(required=False)
    slow = forms.BooleanField(required=False)

    def clean(self) -> dict[str, Any]:
        """Drop the files and their errors if the sample was chosen."""
        data = super().clean() or {}
        if data.get("sample"):
            # With the sample button, the file field may be empty.
            self.errors.pop("uploads", None)
            data["uploads"] = []
        return data

    @contextmanager
    def sources(self) -> Iterator[list[tuple[Path, str]]]:
        """Yield the paths of the files, each with the name that the visitor gave it.

        Uploaded files are stored, and removed again if the block raises an exception.
        """
        if self.cleaned_data["sample"]:
            yield [(path, path.name) for path in self.sample_files]
            return
        stored: list[tuple[Path, str]] = []
        try:
            for upload in self.cleaned_data["uploads"]:
                # One by one: if one cannot be stored, those before it must be removed.
                stored.append((store(upload), upload.name or "file"))  # noqa: PERF401
            yield stored
        except BaseException:
            for path, _ in stored:
                path.unlink()
            raise

    def pace(self, steps: int) -> float:
        """Return the seconds that a task waits at each of its steps."""
        return min(SLOW_SECONDS / max(steps, 1), 1.0) if self.cleaned_data["slow"] else 0.0


class FilesField(forms.FileField):
    """A field for one or more files. Its value is a list."""

    def __init__(self, *, at_most: int) -> None:
        self.at_most = at_most
        widget = _FilesInput() if at_most > 1 else forms.FileInput()
        super().__init__(widget=widget, error_messages=_MESSAGES)

    def clean(self, data: Any, initial: Any = None) -> list[UploadedFile[bytes]]:
        """Refuse a missing or empty file, too many files, and too many bytes in all."""
        given = data if isinstance(data, list) else [data]
        if len(given) > self.at_most:
            raise ValidationError(f"Choose at most {self.at_most} files at once.")
        files = [super(FilesField, self).clean(each, initial) for each in given or [None]]
        if sum(file.size for file in files) > MAX_BYTES:
            raise ValidationError(TOO_LARGE, code="too_large")
        return files


_MESSAGES = {
    "required": "Choose a file first, or use the sample.",
    "empty": "The file is empty.",
    "invalid": "Choose a file first, or use the sample.",
}


class _FilesInput(forms.FileInput):
    allow_multiple_selected = True


class CsvForm(StartForm):
    """Starts a task with one CSV file."""

    uploads = FilesField(at_most=1)

    def clean_uploads(self) -> list[UploadedFile[bytes]]:
        """Refuse files that are not text."""
        files: list[UploadedFile[bytes]] = self.cleaned_data["uploads"]
        for upload in files:
            upload.seek(0)
            try:
                inspect(cast(BinaryIO, upload))
            except CsvError as error:
                raise ValidationError(str(error)) from error
        return files


class ImportForm(CsvForm):
    """Starts an import."""

    sample_files: ClassVar = [SAMPLES / "timezones-with-mistakes.csv"]


class ReportForm(CsvForm):
    """Starts a report."""

    sample_files: ClassVar = [SAMPLES / "timezones.csv"]


class ThumbnailsForm(StartForm):
    """Starts a task that makes thumbnails."""

    sample_files: ClassVar = [
        SAMPLES / "hills-on-its-side.jpg",
        SAMPLES / "map-of-timezones.png",
        SAMPLES / "moon.png",
    ]

    uploads = FilesField(at_most=MAX_FILES)

    def clean_uploads(self) -> list[UploadedFile[bytes]]:
        """Refuse files that are not images, as their headers show."""
        files: list[UploadedFile[bytes]] = self.cleaned_data["uploads"]
        for upload in files:
            upload.seek(0)
            try:
                check_image(upload)
            except ImageError as error:
                raise ValidationError(f"{upload.name}: {error}") from error
        return files


class RatesForm(forms.Form):
    """Starts a task that requests rates from a service that often fails."""

    outcome = forms.ChoiceField(choices=[("recovers", "recovers"), ("fails", "fails")])
