"""The CSV import: its figures, its bad rows, and the files that it refuses."""

import tracemalloc
from io import BytesIO
from pathlib import Path

import pytest

from tasks import imports
from tasks.imports import MAX_BAD_ROWS, MAX_DISTINCT, CsvError, import_csv, inspect

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture
def progress(monkeypatch):
    """The calls of set_progress, in order."""
    calls = []
    monkeypatch.setattr(
        imports,
        "set_progress",
        lambda current, total=None, *, message=None: calls.append((current, total, message)),
    )
    return calls


@pytest.fixture
def file(tmp_path):
    """Return a function that writes bytes or text to a file and returns its path."""

    def write(content):
        path = tmp_path / "upload.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


def column(result, name):
    return next(each for each in result["columns"] if each["name"] == name)


def test_sample_has_only_good_rows():
    result = import_csv(str(SAMPLES / "timezones.csv"))
    assert (result["rows"], result["good"], result["bad"]) == (312, 312, 0)
    assert column(result, "latitude")["kind"] == "number"


def test_sample_with_mistakes_names_each_mistake_with_its_line():
    result = import_csv(str(SAMPLES / "timezones-with-mistakes.csv"), name="zones.csv")
    assert result["file"] == "zones.csv"
    assert (result["rows"], result["good"], result["bad"]) == (312, 307, 5)
    assert result["bad_rows"] == [
        {"line": 18, "reason": "latitude is not a number: fourteen south"},
        {"line": 59, "reason": "5 cells instead of 7"},
        {"line": 103, "reason": "zone is empty"},
        {"line": 162, "reason": "longitude is not a number: 12°30'E"},
        {"line": 232, "reason": "8 cells instead of 7"},
    ]


def test_progress_rises_to_the_last_line(file, progress):
    import_csv(file("a,b\n" + "1,2\n" * 50))
    assert [current for current, _, _ in progress] == list(range(2, 52))
    assert {total for _, total, _ in progress} == {51}
    assert progress[-1][2] == "50 rows read, 0 bad"


def test_figures_of_a_column_count_only_good_rows(file):
    rows = ["1,x"] * 9 + ["4,x"] + ["oops,x"]
    result = import_csv(file("n,t\n" + "\n".join(rows)))
    assert result["bad"] == 1
    assert column(result, "n") == {
        "name": "n",
        "kind": "number",
        "filled": 10,
        "empty": 0,
        "distinct": 2,
        "min": 1.0,
        "max": 4.0,
        "mean": 1.3,
    }


def test_cell_may_be_empty_if_it_often_is_in_the_first_rows(file):
    result = import_csv(file("a,b\n1,\n2,x\n3,\n"))
    assert result["bad"] == 0
    assert column(result, "b")["empty"] == 2


def test_dates_are_checked_and_compared(file):
    days = [f"2026-11-{day:02}" for day in range(1, 21)] + ["2026-02-30"]
    result = import_csv(file("day,x\n" + "".join(f"{day},1\n" for day in days)))
    assert result["bad_rows"] == [{"line": 22, "reason": "day is not a date: 2026-02-30"}]
    assert column(result, "day")["min"] == "2026-11-01"
    assert column(result, "day")["max"] == "2026-11-20"


def test_german_dates_and_decimal_commas_are_read_with_semicolons(file):
    result = import_csv(file("Tag;Preis\n22.11.2026;1,50\n23.11.2026;2,50\n"))
    assert result["delimiter"] == ";"
    assert column(result, "Preis")["mean"] == 2.0
    assert column(result, "Tag")["max"] == "2026-11-23"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_separator_is_found(file, delimiter):
    line = delimiter.join
    result = import_csv(file(f"{line('ab')}\n{line(['1', '2'])}\n"))
    assert result["delimiter"] == delimiter
    assert [each["name"] for each in result["columns"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("name,n\nZoë,1\n".encode(), "utf-8-sig"),
        ("name,n\nZoë,1\n".encode("utf-8-sig"), "utf-8-sig"),
        ("name,n\nZoë€,1\n".encode("cp1252"), "cp1252"),
        (b"name,n\nZo\x81,1\n", "latin-1"),
    ],
)
def test_encoding_is_found(file, content, encoding):
    result = import_csv(file(content))
    assert result["encoding"] == encoding
    assert result["columns"][0]["name"] == "name"


def test_encoding_is_found_if_a_letter_is_split_between_two_reads():
    content = b"a" * (imports._CHUNK - 1) + "é\n".encode()
    assert inspect(BytesIO(content)).encoding == "utf-8-sig"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system_are_read(file, end):
    result = import_csv(file(end.join(["a,b", "1,2", '"x\ny",4', "5"])))
    assert result["rows"] == 3
    assert result["bad_rows"][-1]["reason"] == "1 cells instead of 2"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "The file is empty."),
        ("\n\n\n", "The file is empty."),
        ("a,b\n", "The file has a header but no rows."),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "binary data"),
        ("a,b\n1,2\n".encode("utf-16"), "binary data"),
        ("a\n" + "x" * (imports.MAX_LINE + 1), "a line is longer"),
        (",".join("a" * (imports.MAX_COLUMNS + 1)) + "\n", "columns"),
        ('a,b\n1,"never closed\n', "Line 2 cannot be read as CSV"),
        ("a,b\n1," + "x" * 140_000, "Line 2 cannot be read as CSV"),
    ],
)
def test_file_that_is_no_table_is_refused_with_the_reason(file, content, message):
    with pytest.raises(CsvError, match=message):
        import_csv(file(content))


@pytest.mark.parametrize("cell", ["nan", "inf", "1e999", "1_000", "٣", "9" * 5_000])
def test_number_that_json_cannot_express_is_bad(file, cell):
    result = import_csv(file("n,x\n" + "1,1\n" * 20 + f"{cell},1\n"))
    assert result["bad"] == 1


def test_only_the_first_bad_rows_are_named_but_all_are_counted(file):
    result = import_csv(file("n,x\n" + "1,1\n" * 500 + "oops,1\n" * 50))
    assert result["bad"] == 50
    assert len(result["bad_rows"]) == MAX_BAD_ROWS


def test_count_of_distinct_values_is_limited(file):
    result = import_csv(file("n,x\n" + "".join(f"{n},1\n" for n in range(MAX_DISTINCT + 1))))
    assert column(result, "n")["distinct"] == f"more than {MAX_DISTINCT}"


def test_memory_does_not_grow_with_the_file(file, monkeypatch):
    monkeypatch.setattr(imports, "set_progress", lambda *args, **kwargs: None)
    row = "some text of a usual length,12.5,2026-11-22\n"
    path = file("text,n,day\n" + row * 60_000)  # 2.6 MB
    tracemalloc.start()
    try:
        import_csv(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
