"""The demo page in a real browser, against the real service."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, expect

import realtime
from realtime.web.translation import describe
from tests.publishing import fresh_id, publish_change, user
from tests.sample_tasks import sleep

EVIL = "<img src=x onerror=alert(1)>"


def progress(current: float, total: float) -> dict[str, Any]:
    return {"current": current, "total": total, "message": None, "meta": None}


def form(page: Page, name: str) -> Locator:
    return page.get_by_role("form", name=name)


def start(page: Page, name: str, button: str) -> Locator:
    return form(page, name).get_by_role("button", name=button)


def cards(page: Page) -> Locator:
    return page.locator("#tasks > li")


def state(card: Locator) -> Locator:
    return card.locator('[data-part="state"]')


def connection(page: Page) -> Locator:
    return page.locator("#connection-state")


def a_file(name: str, content: str | bytes) -> Any:
    data = content.encode() if isinstance(content, str) else content
    return {"name": name, "mimeType": "text/csv", "buffer": data}


async def open_live(page: Page, url: str) -> None:
    await page.goto(url)
    await expect(connection(page)).to_have_text("live")


async def record_states(page: Page) -> None:
    """Record each text of a card's state from now on, by task id, in `window.states`."""
    await page.evaluate(
        """() => {
          window.states = {};
          new MutationObserver(() => {
            for (const card of document.querySelectorAll("#tasks > li")) {
              const states = (window.states[card.dataset.id] ??= []);
              const { innerText } = card.querySelector(".state");
              const state = innerText.replace(/\\s+/g, " ").trim();
              if (states.at(-1) !== state) states.push(state);
            }
          }).observe(document.getElementById("tasks"),
            { childList: true, subtree: true, characterData: true });
        }"""
    )


async def test_import_of_the_sample_is_shown_from_waiting_to_its_result(service, page):
    await open_live(page, service.url)
    await record_states(page)
    await start(page, "Import a CSV file", "Use the sample").click()
    card = cards(page).first
    await expect(state(card)).to_have_text("running")
    bar = card.get_by_role("progressbar", name="CSV import")
    await expect(bar).to_have_js_property("max", 313)
    await expect(card.locator("article")).to_be_focused()
    await expect(state(card)).to_have_text("succeeded")
    [states] = (await page.evaluate("window.states")).values()
    # The changes of a fast worker may arrive before the publisher's.
    assert [state for state in states if state not in ("waiting", "received")] == [
        "running",
        "succeeded",
    ]
    await expect(card.locator("tbody tr")).to_have_count(5)
    await expect(card.locator("tbody tr").first).to_have_text(
        "18latitude is not a number: fourteen south"
    )
    await expect(card.locator("pre")).to_contain_text('"good": 307')
    await expect(bar).to_be_hidden()
    await expect(card.get_by_role("button", name="Cancel")).to_be_hidden()
    await expect(page.locator("#news")).to_have_text("CSV import: succeeded")


async def test_own_file_is_imported_under_its_own_name(service, page):
    await open_live(page, service.url)
    await (
        form(page, "Import a CSV file")
        .get_by_label("A CSV file")
        .set_input_files(a_file("own.csv", "a,b\n1,2\n3\n"))
    )
    await form(page, "Import a CSV file").get_by_label("Run slowly").uncheck()
    await start(page, "Import a CSV file", "Start").click()
    card = cards(page).first
    await expect(state(card)).to_have_text("succeeded")
    await expect(card.locator("pre")).to_contain_text('"file": "own.csv"')
    await expect(card.locator("tbody tr")).to_have_text("31 cells instead of 2")


async def test_thumbnails_and_the_report_end_with_their_results(service, page):
    await open_live(page, service.url)
    for name, button in [
        ("Make thumbnails", "Use the samples"),
        ("Build a report", "Use the sample"),
    ]:
        await form(page, name).get_by_label("Run slowly").uncheck()
        await start(page, name, button).click()
    thumbnails = cards(page).filter(has_text="Thumbnails")
    await expect(state(thumbnails)).to_have_text("succeeded")
    await expect(thumbnails.locator("pre")).to_contain_text('"size": "640x427"')
    report = cards(page).filter(has_text="Report: putting it together")
    await expect(state(report)).to_have_text("succeeded")
    await expect(report.locator("pre")).to_contain_text("most often “United States” (29 times)")
    await expect(cards(page).filter(has_text="Report: reading columns")).to_have_count(4)


async def test_reload_loses_nothing_and_goes_on_live(service, page):
    await open_live(page, service.url)
    await start(page, "Import a CSV file", "Use the sample").click()
    await expect(state(cards(page).first)).to_have_text("running")
    await page.reload(wait_until="commit")
    await expect(cards(page)).to_have_count(1)
    await expect(connection(page)).to_have_text("live")
    await expect(state(cards(page).first)).to_have_text("succeeded")
    await page.reload()
    await expect(cards(page)).to_have_count(1)
    await expect(cards(page).first.locator("pre")).to_contain_text('"bad": 5')


async def test_retries_are_shown_with_their_time_and_end_well_or_badly(service, page):
    await open_live(page, service.url)
    await record_states(page)
    name = "Ask a service that often fails"
    await start(page, name, "Retries, then succeeds").click()
    await expect(cards(page)).to_have_count(1)
    await start(page, name, "Fails for good").click()
    await expect(cards(page)).to_have_count(2)
    fails, recovers = cards(page).first, cards(page).last
    await expect(state(recovers)).to_have_text("succeeded")
    await expect(recovers.locator('[data-part="tries"]')).to_have_text("attempt 3")
    await expect(recovers.locator("pre")).to_contain_text('"calls": 3')
    await expect(state(fails)).to_have_text("failed")
    await expect(fails.locator('[data-part="tries"]')).to_have_text("attempt 4")
    await expect(fails.locator('[data-part="error"]')).to_have_text(
        "UpstreamError 503 Service Unavailable (call 4)"
    )
    seen = await page.evaluate("window.states")
    times = 0
    for card, retries in [(recovers, 2), (fails, 3)]:
        states = seen[await card.get_attribute("data-id")]
        # The wait is random, and one of no time at all has no time to show.
        matches = [re.fullmatch(r"retrying( at \d\d:\d\d:\d\d)?", state) for state in states]
        assert sum(match is not None for match in matches) == retries, states
        times += sum(match is not None and match[1] is not None for match in matches)
    assert times > 0


async def test_running_task_is_cancelled_and_focus_stays_on_its_card(service, page):
    await open_live(page, service.url)
    await start(page, "Import a CSV file", "Use the sample").click()
    card = cards(page).first
    await expect(state(card)).to_have_text("running")
    button = card.get_by_role("button", name="Cancel")
    await button.click()
    await expect(state(card)).to_have_text("cancelled")
    await expect(button).to_be_hidden()
    await expect(card.locator("article")).to_be_focused()


async def test_task_of_the_project_with_an_id_of_its_own_is_shown_and_cancelled(
    service, page, people
):
    """An id can be any text: the page's address, a selector or an attribute may not break it."""
    task_id = f'import 7/ä "x" #{fresh_id()}'
    with realtime.owned_by(user(people.bob.key)):
        await asyncio.to_thread(sleep.apply_async, (60,), task_id=task_id)
    await page.context.add_cookies(
        [{"name": "sessionid", "value": people.bob.session, "url": service.url}]
    )
    await open_live(page, service.url)
    card = cards(page).filter(
        has=page.locator(f"input[value={json.dumps(task_id, ensure_ascii=False)}]")
    )
    await expect(state(card)).to_have_text("running")
    await card.get_by_role("button", name="Cancel").click()
    await expect(state(card)).to_have_text("cancelled")
    await page.reload()
    await expect(state(card)).to_have_text("cancelled")


#: Statuses that a project's own task can publish, each with a text that its card then has.
ODD_STATUSES = [
    ({"state": "PROGRESS", "progress": progress(1e308, 5e-324)}, "100 %"),
    ({"state": "PROGRESS", "progress": progress(-7, 5)}, "0 %"),
    ({"state": "PROGRESS", "progress": progress(1e308, -5)}, "1e+308"),
    ({"state": "PROGRESS", "progress": progress(2.0, 0)}, "2"),
    ({"state": "constructor", "name": "__proto__", "progress": progress(1, 3)}, "33 %"),
    ({"state": "FAILURE", "error": {"type": EVIL, "message": ""}}, EVIL),
    ({"state": "SUCCESS", "result": {"file": ["a", {"b": None}], "toJSON": 1}}, '"toJSON": 1'),
    ({"state": "SUCCESS", "result": {"bad_rows": {"length": 3}, "__proto__": 5}}, '"__proto__": 5'),
    (
        {
            "state": "SUCCESS",
            "result": {"bad_rows": [{"line": {"toString": 1}, "reason": [None]}, None, 5, "x", []]},
        },
        '{"toString":1}[null]',
    ),
]


async def test_odd_statuses_are_shown_and_the_server_renders_them_as_the_script_does(
    service, page, people, browser: Browser
):
    cookies = [{"name": "sessionid", "value": people.clerk.session, "url": service.url}]
    await page.context.add_cookies(cookies)
    await open_live(page, service.url)
    expected = {}
    for fields, text in ODD_STATUSES:
        task_id = fresh_id()
        await asyncio.to_thread(publish_change, task_id, owner=people.clerk.key, **fields)
        expected[task_id] = text
    await expect(cards(page)).to_have_count(len(expected))
    for task_id, text in expected.items():
        await expect(page.locator(f'[data-id="{task_id}"]')).to_contain_text(text)
    texts = """cards => Object.fromEntries(cards.map(card => [card.dataset.id, [
      ...["name", "state", "tries", "percent", "error-type", "error-message", "result-text"].map(
        name => card.querySelector(`[data-part="${name}"]`).textContent),
      ...["bar", "message", "error", "bad-rows", "result", "truncated", "cancel"].map(
        name => card.querySelector(`[data-part="${name}"]`).hidden),
      ...Array.from(card.querySelectorAll("td"), cell => cell.textContent),
    ]]))"""
    live = await cards(page).evaluate_all(texts)
    context = await browser.new_context(java_script_enabled=False)
    await context.add_cookies(cookies)
    rendered = await context.new_page()
    await rendered.goto(service.url)
    assert await cards(rendered).evaluate_all(texts) == live
    await context.close()
    await page.evaluate(
        """async ids => {
          await import("/static/realtime/task-progress.js");
          for (const id of ids) {
            const element = document.createElement("task-progress");
            element.setAttribute("task-id", id);
            document.body.append(element);
          }
        }""",
        list(expected),
    )
    for task_id in expected:
        status = await asyncio.to_thread(realtime.status, task_id)
        element = page.locator(f'task-progress[task-id="{task_id}"]')
        await expect(element.locator('[data-part="text"]')).to_have_text(describe(status))


async def test_page_under_a_path_starts_and_cancels_tasks(start_web, page):
    web = await asyncio.to_thread(start_web, django={"FORCE_SCRIPT_NAME": "/app"})
    await open_live(page, f"{web.url}/app/")
    await start(page, "Import a CSV file", "Use the sample").click()
    card = cards(page).first
    await expect(state(card)).to_have_text("running")
    await card.get_by_role("button", name="Cancel").click()
    await expect(state(card)).to_have_text("cancelled")
    await page.get_by_role("link", name="Sign in").click()
    await page.get_by_role("link", name="Tasks, live").click()
    await expect(connection(page)).to_have_text("live")
    assert page.url == f"{web.url}/app/"
    await expect(cards(page)).to_have_count(1)


async def test_whole_page_is_used_with_the_keyboard_alone(service, page):
    await open_live(page, service.url)

    async def tab_to(target: Locator) -> None:
        for _ in range(40):
            await page.keyboard.press("Tab")
            if await target.evaluate("it => it === document.activeElement"):
                break
        await expect(target).to_be_focused()
        assert await target.evaluate("it => getComputedStyle(it).outlineStyle") != "none"

    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await tab_to(start(page, "Import a CSV file", "Use the sample"))
    await page.keyboard.press("Enter")
    card = cards(page).first
    await expect(card.locator("article")).to_be_focused()
    await expect(state(card)).to_have_text("running")
    await tab_to(card.get_by_role("button", name="Cancel"))
    await page.keyboard.press("Space")
    await expect(state(card)).to_have_text("cancelled")


async def test_markup_from_a_file_is_shown_as_text(service, page):
    await open_live(page, service.url)
    content = f"{EVIL},n\n" + f"{EVIL},1\n" * 20 + f"x,{EVIL}\n"
    await (
        form(page, "Import a CSV file")
        .get_by_label("A CSV file")
        .set_input_files(a_file(f"{EVIL}.csv", content))
    )
    await form(page, "Import a CSV file").get_by_label("Run slowly").uncheck()
    await start(page, "Import a CSV file", "Start").click()
    card = cards(page).first
    await expect(state(card)).to_have_text("succeeded")
    for _ in range(2):
        await expect(card.locator("pre")).to_contain_text(f'"file": "{EVIL}.csv"')
        await expect(card.locator("tbody")).to_contain_text(f"n is not a number: {EVIL}")
        assert await page.locator("#tasks img").count() == 0
        # And once more, as the server renders it.
        await page.reload()


async def test_result_too_large_to_be_pushed_is_fetched_on_demand(service, page):
    await open_live(page, service.url)
    names = ",".join(f"column {n}" for n in range(60))
    await (
        form(page, "Import a CSV file")
        .get_by_label("A CSV file")
        .set_input_files(a_file("wide.csv", f"{names}\n{','.join('1' * 60)}\n"))
    )
    await form(page, "Import a CSV file").get_by_label("Run slowly").uncheck()
    await start(page, "Import a CSV file", "Start").click()
    card = cards(page).first
    await expect(card).to_contain_text("The result is too large to be pushed.")
    await card.get_by_role("button", name="Get the complete result").click()
    await expect(card.locator("pre")).to_contain_text('"name": "column 59"')
    await expect(card.locator("pre")).to_be_focused()


async def test_signed_in_user_has_their_own_tasks(service, page):
    make = (
        "from django.contrib.auth.models import User;"
        "User.objects.filter(username='ada').exists()"
        " or User.objects.create_user('ada', password='engine-1843')"
    )
    await asyncio.to_thread(service.run_code, make)

    async def sign_in(password: str) -> None:
        await page.get_by_label("Name").fill("ada")
        await page.get_by_label("Password").fill(password)
        await page.get_by_role("button", name="Sign in").click()

    await page.goto(service.url)
    await page.get_by_role("link", name="Sign in").click()
    await sign_in("wrong")
    await expect(page.get_by_role("alert")).to_have_text("The name or the password is wrong.")
    await sign_in("engine-1843")
    await expect(connection(page)).to_have_text("live")
    await form(page, "Import a CSV file").get_by_label("Run slowly").uncheck()
    await start(page, "Import a CSV file", "Use the sample").click()
    await expect(state(cards(page).first)).to_have_text("succeeded")
    await page.get_by_role("button", name="Sign out").click()
    await expect(connection(page)).to_have_text("live")
    await expect(cards(page)).to_have_count(0)


@pytest.mark.parametrize(
    ("name", "label", "file", "problem"),
    [
        ("Import a CSV file", "A CSV file", None, "Choose a file first, or use the sample."),
        ("Import a CSV file", "A CSV file", ("a.csv", b""), "The file is empty."),
        ("Build a report", "A CSV file", ("a.csv", b"\x89PNG\0"), "This is not a CSV file"),
        ("Make thumbnails", "Pictures", ("a.png", b"<svg/>"), "a.png: It is not a JPEG"),
        ("Import a CSV file", "A CSV file", ("a.csv", b"a" * 10_000_001), "more than 10 MB"),
    ],
)
async def test_bad_upload_is_answered_beside_its_form(
    service, watched, tmp_path, name, label, file, problem
):
    page = watched.page
    await open_live(page, service.url)
    if file is not None:
        (tmp_path / file[0]).write_bytes(file[1])
        await form(page, name).get_by_label(label).set_input_files(tmp_path / file[0])
    await start(page, name, "Start").click()
    await expect(form(page, name).get_by_role("alert")).to_contain_text(problem)
    await expect(form(page, name).get_by_label(label)).to_be_focused()
    await expect(cards(page)).to_have_count(0)
    await expect(connection(page)).to_have_text("live")
    # The browser itself reports the answer 400, and nothing else.
    assert all("400" in complaint for complaint in watched.complaints)


async def test_page_is_honest_while_the_worker_or_the_server_is_away(start_service, watched):
    service, page = start_service(), watched.page
    await asyncio.to_thread(service.worker.kill)
    # The least wait before each reconnect.
    await page.add_init_script("Math.random = () => 0.05")
    await open_live(page, service.url)
    await record_states(page)
    await form(page, "Import a CSV file").get_by_label("Run slowly").uncheck()
    await start(page, "Import a CSV file", "Use the sample").click()
    await expect(state(cards(page))).to_have_text("waiting")
    await expect(cards(page).get_by_role("progressbar")).to_be_hidden()
    assert watched.complaints == []

    await asyncio.to_thread(service.web.stop)
    await expect(connection(page)).to_have_text("offline")
    await start(page, "Import a CSV file", "Use the sample").click()
    await expect(form(page, "Import a CSV file").get_by_role("alert")).to_contain_text(
        "The service did not answer."
    )

    service.worker.start()
    service.web.start()
    await asyncio.to_thread(service.wait_ready)
    await expect(connection(page)).to_have_text("live", timeout=60_000)
    await expect(state(cards(page))).to_have_text("succeeded")
    [states] = (await page.evaluate("window.states")).values()
    assert (states[0], states[-1]) == ("waiting", "succeeded")


async def test_everything_works_without_javascript(service, browser: Browser):
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(service.url)
    await form(page, "Import a CSV file").get_by_label("Run slowly").uncheck()
    await start(page, "Import a CSV file", "Use the sample").click()
    await page.wait_for_url(f"{service.url}/")
    deadline = time.monotonic() + 60
    while await state(cards(page)).inner_text() != "succeeded" and time.monotonic() < deadline:
        await page.reload()
    await expect(cards(page).locator("tbody tr")).to_have_count(5)
    await start(page, "Import a CSV file", "Use the sample").click()
    await cards(page).first.get_by_role("button", name="Cancel").click()
    deadline = time.monotonic() + 60
    while (
        await state(cards(page).first).inner_text() != "cancelled" and time.monotonic() < deadline
    ):
        await page.reload()
    await expect(state(cards(page).first)).to_have_text("cancelled")
    await start(page, "Build a report", "Start").click()
    await expect(form(page, "Build a report").get_by_role("alert")).to_have_text(
        "Choose a file first, or use the sample."
    )
    await context.close()


async def test_visitor_does_not_see_the_tasks_of_another(service, page, browser: Browser):
    await open_live(page, service.url)
    await start(page, "Ask a service that often fails", "Fails for good").click()
    await expect(cards(page)).to_have_count(1)
    context = await browser.new_context()
    other = await context.new_page()
    await open_live(other, service.url)
    await expect(cards(other)).to_have_count(0)
    await context.close()


async def test_page_fits_its_window_in_both_colour_schemes(service, page, tmp_path):
    await open_live(page, service.url)
    await form(page, "Import a CSV file").get_by_label("Run slowly").uncheck()
    await start(page, "Import a CSV file", "Use the sample").click()
    await expect(state(cards(page).first)).to_have_text("succeeded")
    await cards(page).first.locator("summary").click()
    for scheme, width in [("light", 1180), ("dark", 1180), ("light", 360), ("dark", 360)]:
        await page.emulate_media(color_scheme=scheme)
        await page.set_viewport_size({"width": width, "height": 900})
        assert await page.evaluate("document.documentElement.scrollWidth") == width
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(int, re.findall(r"\d+", ground)[:3])) / 3
        assert brightness > 200 if scheme == "light" else brightness < 60
        await page.screenshot(path=tmp_path / f"{scheme}-{width}.png", full_page=True)
