"""Thumbnails: what is made, and what is refused."""

from pathlib import Path

import pytest
from PIL import Image

from tasks import images
from tasks.images import ImageError, make_thumbnails

SAMPLES = Path(__file__).parents[2] / "samples"


def test_each_image_is_made_in_each_size(tmp_path):
    result = make_thumbnails([str(SAMPLES / "moon.png")], into=str(tmp_path), sizes=(320, 96))
    assert [(made["name"], made["size"]) for made in result["made"]] == [
        ("moon.png", "320x320"),
        ("moon.png", "96x96"),
    ]
    for made in result["made"]:
        file = tmp_path / made["file"]
        assert file.stat().st_size == made["bytes"]
        with Image.open(file) as image:
            assert f"{image.width}x{image.height}" == made["size"]
            assert image.mode == "RGBA"


def test_picture_stored_on_its_side_is_turned(tmp_path):
    path = SAMPLES / "hills-on-its-side.jpg"
    with Image.open(path) as stored:
        assert stored.height > stored.width
    result = make_thumbnails([str(path)], into=str(tmp_path), sizes=(300,))
    assert result["made"][0]["size"] == "300x200"


def test_small_picture_is_not_enlarged(tmp_path):
    Image.new("RGB", (10, 20)).save(tmp_path / "small.png")
    result = make_thumbnails([str(tmp_path / "small.png")], into=str(tmp_path), sizes=(96,))
    assert result["made"][0]["size"] == "10x20"


def test_bad_files_are_refused_and_the_good_one_is_resized(tmp_path):
    whole = (SAMPLES / "map-of-timezones.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("<svg onload=alert(1)>")
    Image.new("1", (10_000, 5_000)).save(tmp_path / "bomb.png")
    Image.new("1", (20_000, 10_000)).save(tmp_path / "bigger.png")
    paths = [str(tmp_path / f"{name}.png") for name in ("half", "text", "bomb", "bigger")]
    result = make_thumbnails([*paths, str(SAMPLES / "moon.png")], into=str(tmp_path / "made"))
    assert result["images"] == 1
    assert result["refused"] == [
        {"name": "half.png", "reason": "It is damaged and cannot be read."},
        {"name": "text.png", "reason": "It is not a JPEG, PNG, WEBP or GIF image."},
        {"name": "bomb.png", "reason": "It has 10000x5000 pixels; 40 megapixels are allowed."},
        {"name": "bigger.png", "reason": "It has too many pixels."},
    ]


def test_task_fails_when_no_file_could_be_used(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(ImageError, match=r"holiday\.jpg: It is not a JPEG"):
        make_thumbnails([str(tmp_path / "a")], into=str(tmp_path), names=["holiday.jpg"])


def test_progress_counts_images(tmp_path, monkeypatch):
    seen = []

    def track(rows, *, message=None):
        seen.append((len(rows), message))
        return iter(rows)

    monkeypatch.setattr(images, "track", track)
    make_thumbnails([str(SAMPLES / "moon.png")] * 3, into=str(tmp_path), sizes=(96,))
    assert seen == [(3, "making thumbnails")]
