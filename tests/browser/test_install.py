"""The install page, executed: from an empty folder to a bar that moves, with its lines alone."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest
from playwright.async_api import expect

from project.processes import ROOT
from tests.browser.conftest import Watched
from tests.pasted import Project, Visitor, code, fresh_project

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

PAGE = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
#: The part that begins with an empty folder.
(PART,) = re.findall(r"^## 2\. .*?(?=^## )", PAGE, re.DOTALL | re.MULTILINE)
#: The commands. `fresh_project` and `Project.start` do it.
COMMANDS = [
    "django-admin startproject mysite .",
    "python manage.py migrate",
    "celery -A mysite worker",
    "python manage.py runserver",
]
#: Rows of the task; the page's number takes ten seconds.
ROWS = 40


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    lines = "".join(code(PART, "sh")).splitlines()
    assert [line.partition("  ")[0] for line in lines] == COMMANDS
    assert PART.count("delay(200)") == 1
    with fresh_project(tmp_path_factory.mktemp("install")) as project:
        project.paste(PART.replace("delay(200)", f"delay({ROWS})"))
        warnings = project.run("manage.py", "check", "--fail-level", "WARNING")
        assert "no issues" in warnings
        project.start()
        yield project


async def test_from_an_empty_folder_to_a_bar_that_moves(site: Project, watched: Watched) -> None:
    page = watched.page
    await page.goto(site.url)
    await page.get_by_role("button").click()
    bar = page.locator("task-progress progress")
    await expect(bar).to_have_count(1)
    seen: list[float] = []
    while len(seen) < 3:  # each time further than before
        await page.wait_for_function(
            "([bar, last]) => bar.max > 1 && bar.value > last && bar.value < bar.max",
            arg=[await bar.element_handle(), seen[-1] if seen else 0],
        )
        seen.append(await bar.evaluate("bar => bar.value"))
    await expect(page.locator("task-progress[state=SUCCESS]")).to_have_count(1)
    assert seen == sorted(set(seen))
    # A fresh project has no icon.
    assert [one for one in watched.complaints if "404" not in one] == []


async def test_the_view_that_waits_answers_its_visitor_and_nobody_else(site: Project) -> None:
    await asyncio.to_thread(ask_for_the_ending, site)


def ask_for_the_ending(site: Project) -> None:
    mine, other = Visitor(site.url), Visitor(site.url)
    for visitor in (mine, other):
        assert visitor.open("/")[0] == 200
    status, page = mine.open("/start/", post=True)
    assert status == 200
    found = re.search(r'task-id="([^"]+)"', page)
    assert found
    assert mine.json(f"/ended/{found[1]}/")["result"] == {"rows": ROWS}
    assert other.open(f"/ended/{found[1]}/")[0] == 404
    assert mine.open("/ended/no-such-task/")[0] == 404
    assert found[1] not in other.open("/")[1]
