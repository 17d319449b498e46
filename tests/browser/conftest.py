"""A real Chromium, and pages in it that record errors."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            # One browser for the session lives in the session's loop, and so do its tests.
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def chromium_path() -> str:
    names = [os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"]
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("there is no Chromium: set CHROMIUM, or install it (apt-get install chromium)")
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium_path: str) -> AsyncIterator[Browser]:
    arguments = [*ARGUMENTS, "--no-sandbox"] if os.geteuid() == 0 else ARGUMENTS
    expect.set_options(timeout=30_000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path, args=arguments)
        yield browser
        await browser.close()


@dataclass
class Watched:
    """A page, and the errors that it reported."""

    page: Page
    complaints: list[str] = field(default_factory=list)


@pytest_asyncio.fixture(loop_scope="session")
async def watched(browser: Browser) -> AsyncIterator[Watched]:
    """A fresh visitor's page; console errors, exceptions and CSP violations are kept."""
    context = await browser.new_context()
    page = await context.new_page()
    page.set_default_timeout(20_000)
    kept = Watched(page)
    page.on("pageerror", lambda error: kept.complaints.append(f"exception: {error}"))
    page.on(
        "console",
        lambda message: (
            message.type in ("error", "warning")
            and kept.complaints.append(f"{message.type}: {message.text}")
        ),
    )
    yield kept
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(watched: Watched) -> AsyncIterator[Page]:
    """A fresh visitor's page, which must have reported no error when the test ends."""
    yield watched.page
    assert watched.complaints == []
