"""A file is written whole or not at all."""

from pathlib import Path

import pytest

from tasks.files import write_whole


def test_file_is_written_and_its_size_returned(tmp_path):
    assert write_whole(tmp_path / "new" / "a.txt", b"abc") == 3
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"abc"


def test_nothing_is_left_and_the_old_file_stays_when_writing_stops_half_way(tmp_path, monkeypatch):
    target = tmp_path / "a.txt"
    target.write_bytes(b"old")

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_whole(target, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert target.read_bytes() == b"old"
