"""The tests of Chromium again in Firefox: the page, its policy, and hostile text."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from tests.browser.bidi import Firefox, firefox
from tests.browser.test_attacks import EVIL
from tests.publishing import fresh_id, publish_change

#: Run in every page before its own scripts.
WATCH = """() => {
  window.violations = [];
  document.addEventListener("securitypolicyviolation",
    ({ effectiveDirective, blockedURI }) => {
      window.violations.push(`${effectiveDirective} ${blockedURI}`);
    });
}"""
LIVE = 'document.querySelector("#connection-state")?.textContent === "live"'


@pytest.fixture(scope="session")
def firefox_path() -> str:
    names = [os.environ.get("FIREFOX"), "firefox-esr", "firefox"]
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("there is no Firefox: set FIREFOX, or install it (apt-get install firefox-esr)")
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def started(
    firefox_path: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Firefox]:
    """A Firefox for all tests; to start one takes seconds."""
    async with firefox(firefox_path, tmp_path_factory.mktemp("firefox")) as started:
        await started.command("script.addPreloadScript", functionDeclaration=WATCH)
        yield started


@pytest_asyncio.fixture(loop_scope="session")
async def page(started: Firefox) -> AsyncIterator[Firefox]:
    """A fresh visitor's page; its policy may have refused nothing on it."""
    async with started.visitor():
        yield started
        assert await started.evaluate("window.violations") == []


async def sign_in(page: Firefox, service: Any, session: str) -> None:
    host = urlsplit(service.url).hostname
    cookie = {"name": "sessionid", "domain": host, "value": {"type": "string", "value": session}}
    partition = {"type": "storageKey", "userContext": page.user_context}
    await page.command("storage.setCookie", cookie=cookie, partition=partition)
    await page.open(service.url)
    await page.until(LIVE)


async def test_markup_in_all_texts_of_a_task_is_shown_as_text_in_firefox_too(
    service: Any, page: Firefox, people: Any
) -> None:
    await sign_in(page, service, people.boss.session)
    key, task_id = people.boss.key, fresh_id()
    progress = {"current": 1, "total": 2, "message": EVIL}

    def happen() -> None:
        publish_change(task_id, "STARTED", owner=key, name=EVIL)
        publish_change(task_id, "PROGRESS", owner=key, name=EVIL, progress=progress)
        publish_change(task_id, "SUCCESS", owner=key, result={EVIL: [EVIL]})

    await asyncio.to_thread(happen)
    card = f"document.querySelector('#tasks > li[data-id=\"{task_id}\"]')"
    for _ in range(2):
        await page.until(f'{card}?.innerText.includes("<img src=x onerror")')
        assert await page.evaluate(f'{card}.querySelectorAll("img, script").length') == 0
        assert await page.evaluate("window.hit") is None
        # And once more, as the server renders it.
        await page.open(service.url)
        await page.until(LIVE)


async def test_a_task_is_shown_live_from_its_start_to_its_result_in_firefox_too(
    service: Any, page: Firefox, people: Any
) -> None:
    await sign_in(page, service, people.auditor.session)
    await page.evaluate(
        """[...document.querySelectorAll("form button")]
          .find(it => it.textContent.trim() === "Use the sample").click()"""
    )
    state = "document.querySelector('#tasks > li [data-part=\"state\"]')?.textContent"
    await page.until(f'{state} === "succeeded"')


async def test_firefox_reports_what_the_policy_refuses(service: Any, page: Firefox) -> None:
    """Otherwise the other tests could pass because violations are not reported."""
    await page.open(service.url)
    await page.evaluate(
        """document.body.append(Object.assign(document.createElement("script"),
          { textContent: "window.hit = 1" }))"""
    )
    await page.until("window.violations.length")
    assert await page.evaluate("window.violations.splice(0)") == ["script-src-elem inline"]
    assert await page.evaluate("window.hit") is None
