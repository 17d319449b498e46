"""What the runners of faults and of load write into the docs."""

import argparse
import json

import pytest

from tests import runner
from tests.client.watcher import Callback
from tests.faults.oracle import Truth, judge
from tests.faults.report import SECTION as FAULTS
from tests.faults.report import Row
from tests.load.report import SECTION as LOAD
from tests.load.report import Row as Figure


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A page with an empty section for each runner."""
    page = tmp_path / "guarantees.md"
    marks = "".join(
        f"<!-- {name}: begin -->\n<!-- {name}: end -->\nafter\n" for name in ("faults", "load")
    )
    page.write_text(f"before\n{marks}")
    monkeypatch.setattr(runner, "PAGE", page)
    monkeypatch.setattr(runner, "commit", lambda: "abc123")
    return page


def start(section, tmp_path):
    options = argparse.Namespace(seed=7, write=True, json=tmp_path / "rows")
    return runner.Runner(section, options)


def a_fault(number, *, is_delivered=True, **more):
    story = [Callback(10.5, "a", "e", 1, 1, 0, "SUCCESS", 1)] if is_delivered else []
    verdict = judge({"a": Truth(10.0, "SUCCESS", 1)}, {"client": (["a"], story)})
    return Row.of(number, "a fault", 7, verdict, broken=more.pop("broken", []), **more)


def test_the_tables_are_put_between_their_marks(page, tmp_path):
    run = start(FAULTS, tmp_path)
    run.add(a_fault("1"))
    run.add(a_fault("1", is_delivered=False, contrast=True))
    assert run.end() == 0, "nothing is required of the tutorial"
    text = page.read_text()
    assert text.startswith("before\n<!-- faults: begin -->\nPrinted by `make faults`: 1 tasks.")
    assert "abc123, seed 7 |" in text
    assert "| 1 | a fault | 1 | 0 | 0 | 0 | 0 | 0.50 | 0.50 | 0.50 | - |" in text
    assert "| 1 | a fault | 1 | 1 | 0 | 0 | 0 | - | - | - | - |" in text
    assert "<!-- faults: end -->\nafter\n" in text
    assert len(json.loads((tmp_path / "rows").read_text())) == 2


def test_each_row_is_written_when_it_was_run_and_the_others_stay(page, tmp_path, capsys):
    run = start(FAULTS, tmp_path)
    for row in (a_fault("10"), a_fault("2"), a_fault("2", contrast=True)):
        run.add(row)
    later = start(FAULTS, tmp_path)
    later.add(a_fault("2", broken=["too late"]))
    lines = [line for line in page.read_text().splitlines() if "a fault" in line]
    assert [line.split()[1] for line in lines] == ["2", "10", "2"]
    assert ["too late" in line for line in lines] == [True, False, False]
    assert "**BROKEN**: too late" in lines[0]
    assert "2 tasks" in page.read_text()
    assert later.end() == 1
    assert "BROKEN: 2" in capsys.readouterr().out


def test_the_text_around_a_table_stays(page, tmp_path):
    run = start(LOAD, tmp_path)
    run.add(Figure("a1", "memory", "100", "3 MiB", "64 MiB", True))
    text = page.read_text()
    written = "Printed in parts.\nRow a1 is of a | busy machine.\n\nMore."
    text = text.replace("Printed by `make load`.", written)
    text = text.replace("<!-- load: end -->", "And below.\n<!-- load: end -->")
    page.write_text(text)
    run.add(Figure("c1b", "memory", "5", "3 KiB"))
    run.add(Figure("a1", "memory", "100", "4 MiB", "64 MiB", True))
    text = page.read_text()
    assert f"<!-- load: begin -->\n{written}\n\n| # | figure |" in text
    assert "3 MiB" not in text
    assert text.index("4 MiB") < text.index("3 KiB") < text.index("And below.\n<!-- load: end -->")


def test_writing_what_the_page_already_has_changes_nothing(monkeypatch, tmp_path):
    written = runner.PAGE.read_text(encoding="utf-8")
    copy = tmp_path / "guarantees.md"
    for section, table in ((FAULTS, 0), (FAULTS, 1), (LOAD, 0)):
        copy.write_text(written, encoding="utf-8")
        part = written.split(f"<!-- {section.name}: begin -->")[1]
        tables = list(section._parts(part.split(f"<!-- {section.name}: end -->")[0].lstrip("\n")))
        cells = next(iter(tables[table][1].values()))
        section.write(copy, table, cells)
        assert copy.read_text(encoding="utf-8") == written
