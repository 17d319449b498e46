"""The report: its parts are read separately, and the body joins them."""

import json
from pathlib import Path

import pytest

from tasks.imports import CsvError
from tasks.reports import MAX_PARTS, build_report, read_part, start_report

SAMPLE = str(Path(__file__).parents[2] / "samples" / "timezones.csv")


def build(path, into, parts):
    read = [read_part(str(path), part, parts) for part in range(parts)]
    return build_report(read, into=str(into), name=Path(path).name)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_report_is_the_same_however_many_parts_it_has(tmp_path, parts):
    result = build(SAMPLE, tmp_path, parts)
    assert result["rows"] == 312
    assert result["summary"][1] == (
        "country: text, 312 filled, 0 empty, most often “United States” (29 times)"
    )
    assert [line.split(":")[0] for line in result["summary"]] == [
        *("country_code", "country", "countries", "latitude", "longitude", "zone", "comment")
    ]


def test_report_is_written_as_json_and_as_a_page(tmp_path):
    result = build(SAMPLE, tmp_path, 2)
    files = {Path(each["file"]).suffix: tmp_path / each["file"] for each in result["written"]}
    assert sorted(tmp_path.iterdir()) == sorted(files.values())
    assert len(json.loads(files[".json"].read_text())["columns"]) == 7
    assert "<td>latitude</td>" in files[".html"].read_text()


def test_markup_in_the_file_is_text_in_the_report(tmp_path):
    evil = "<script>alert(1)</script>"
    path = tmp_path / "evil.csv"
    path.write_text(f"{evil},b\n{evil},1\n{evil},2\n")
    result = build(path, tmp_path, 1)
    page = next(each["file"] for each in result["written"] if each["file"].endswith("html"))
    text = (tmp_path / page).read_text()
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 2


def test_part_of_a_file_without_rows_fails_with_the_reason(tmp_path):
    path = tmp_path / "header.csv"
    path.write_text("a,b\n")
    with pytest.raises(CsvError, match="no rows"):
        read_part(str(path), 0, 2)


@pytest.mark.parametrize(("columns", "parts"), [(1, 1), (3, 3), (30, MAX_PARTS)])
def test_canvas_has_a_part_for_each_column_up_to_a_limit(tmp_path, monkeypatch, columns, parts):
    path = tmp_path / "wide.csv"
    path.write_text(",".join("a" * columns) + "\n")
    started = []
    monkeypatch.setattr("tasks.reports.chord", lambda header: lambda body: started.append(header))
    start_report(str(path), into=str(tmp_path))
    assert [signature.args for signature in started[0]] == [
        (str(path), part, parts) for part in range(parts)
    ]


def test_file_that_is_no_csv_is_refused_before_anything_is_started(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"\x00")
    with pytest.raises(CsvError):
        start_report(str(path), into=str(tmp_path))
