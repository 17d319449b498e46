"""A project with its own users, sessions, policies, addresses and static files, in Chromium."""

from __future__ import annotations

import asyncio
import functools
import http.server
import json
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from project.processes import free_port
from project.run import page_answers, worker_answers
from tests.browser.conftest import Watched, browser, chromium_path, watched  # noqa: F401
from tests.pasted import HOST, READY, Project, fresh_project

pytestmark = [
    pytest.mark.integration,
    pytest.mark.browser,
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="session"),
]

PROJECT = (Path(__file__).parent / "odd_project.md").read_text(encoding="utf-8")
ENGINES = "django.contrib.sessions.backends."

#: Functions that send requests as the site's pages do.
SCRIPT = """
window.post = async (path, fields = {}) => {
  const place = document.querySelector("[name=csrfmiddlewaretoken]");
  const body = new URLSearchParams({ csrfmiddlewaretoken: place.value, ...fields });
  const answer = await fetch(`/en/${path}/`, { method: "POST", body });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  const text = await answer.text();
  const content = text ? JSON.parse(text) : {};
  if (content.csrf) place.value = content.csrf;
  return content;
};
window.show = ({ id, token }) => {
  const element = document.createElement("task-progress");
  element.setAttribute("task-id", id);
  element.setAttribute("token", token);
  document.body.append(element);
};
"""


class Cdn(http.server.SimpleHTTPRequestHandler):
    """Serves static files for pages of any origin."""

    def end_headers(self) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Write nothing."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with fresh_project(tmp_path_factory.mktemp("odd")) as project:
        project.paste(PROJECT)
        project.run("manage.py", "makemigrations", "mysite")
        project.run("manage.py", "migrate")
        project.run("manage.py", "collectstatic", "--no-input")
        handler = functools.partial(Cdn, directory=str(project.folder / "collected"))
        (project.folder / "collected" / "static").symlink_to(project.folder / "collected")
        cdn = http.server.ThreadingHTTPServer((HOST, 0), handler)
        project.stack.callback(cdn.server_close)
        project.stack.callback(cdn.shutdown)
        threading.Thread(target=cdn.serve_forever, daemon=True).start()
        project.env["CDN"] = f"http://{HOST}:{cdn.server_address[1]}/static/"
        command = [sys.executable, "-m", "celery", "-A", "mysite", "worker"]
        worker = project._process(
            "worker", [*command, "--concurrency", "2", "--hostname", project.node]
        )
        worker.wait_ready(lambda: worker_answers(project.node, project.redis_url), timeout=READY)
        yield project


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def _script(watched: Watched) -> None:  # noqa: F811
    await watched.page.context.add_init_script(SCRIPT)


@pytest.fixture(scope="module")
def site(project: Project) -> Callable[..., str]:
    """Start a web process with these settings; return the address of its page."""
    started: dict[str, str] = {}

    def start(**settings: Any) -> str:
        odd = json.dumps({"STATIC_URL": project.env["CDN"], **settings})
        if odd not in started:
            port = free_port()
            project.env["ODD"] = odd
            command = [sys.executable, "manage.py", "serve", f"{HOST}:{port}"]
            web = project._process("web", command)
            web.wait_ready(lambda: page_answers(HOST, port), timeout=READY)
            started[odd] = f"http://{HOST}:{port}/en/page/"
        return started[odd]

    return start


async def started(tab: Page, file: Path) -> dict[str, str]:
    return dict(await tab.evaluate("file => post('start', { file })", str(file)))


#: What the console shows if the session does not allow the requested tokens.
UNRENEWED = (
    "error: Failed to load resource: the server responded with a status of 404",
    "warning: realtime: tokens are not renewed: no such task, or not for you",
)

#: What it shows if a sign-in changes the CSRF token while a renewal is under way.
OVERTAKEN = (
    "error: Failed to load resource: the server responded with a status of 403",
    "warning: realtime: tokens are not renewed: the CSRF token is missing or wrong",
)

SESSIONS: list[dict[str, Any]] = [
    {"SESSION_ENGINE": f"{ENGINES}file", "CSRF_USE_SESSIONS": True},
    {"SESSION_ENGINE": f"{ENGINES}signed_cookies", "CSRF_COOKIE_HTTPONLY": False},
    {"SESSION_ENGINE": f"{ENGINES}db"},
    {"SESSION_ENGINE": f"{ENGINES}cache"},
    {"SESSION_ENGINE": f"{ENGINES}cached_db"},
]


async def test_a_visitors_task_stays_visible_through_a_sign_in_and_a_sign_out_hides_it(
    site: Callable[..., str],
    watched: Watched,  # noqa: F811
    tmp_path: Path,
    amount: Callable[[int, int], int],
) -> None:
    for number, settings in enumerate(SESSIONS[: amount(2, 5)]):
        url = await asyncio.to_thread(site, **settings)
        directory = tmp_path / str(number)
        directory.mkdir()
        await sign_in_and_out(url, watched, directory)
        await watched.page.context.clear_cookies()


async def sign_in_and_out(url: str, watched: Watched, tmp_path: Path) -> None:  # noqa: F811
    tab = watched.page
    await tab.goto(url)
    for number in range(2):
        task = await started(tab, tmp_path / str(number))
        await tab.evaluate("task => show(task)", task)
    elements = tab.locator("task-progress")
    await expect(elements.nth(1)).to_have_attribute("state", "STARTED")
    address = f"{secrets.token_hex(4)}@example.test"
    await tab.evaluate("address => post('sign-in', { address })", address)
    for _ in range(2):  # the visitor's two tokens end
        async with tab.expect_response("**/api/live/tokens/"):
            pass
    (tmp_path / "0").touch()
    await expect(elements.nth(0)).to_have_attribute("state", "SUCCESS")
    await tab.goto(url)
    await expect(tab.locator("task-progress[state=SUCCESS]")).to_have_count(1)
    await expect(tab.locator("task-progress[state=STARTED]")).to_have_count(1)
    other = await tab.context.new_page()
    await other.goto(url)
    await other.evaluate("post('password')")
    # The session has another key now, and the page that was open reconnects.
    await expect(tab.locator('[connection="connecting"]')).to_have_count(2)
    await expect(tab.locator('[connection="connected"]')).to_have_count(2)
    await expect(tab.locator("task-progress[state=STARTED]")).to_have_count(1)
    # A renewal that a sign-in overtakes has the old cookie of the visitor, whose task it was.
    assert unexpected(watched, OVERTAKEN + UNRENEWED) == []
    await other.evaluate("post('sign-out')")
    signed_out = tab.locator('[data-part="text"]', has_text="signed out")
    # At once; or by the regular check, if the message of the sign-out is lost.
    await expect(signed_out).to_have_count(1, timeout=90_000)
    (tmp_path / "1").touch()
    await other.close()
    # A renewal of tokens that was under way is refused, as nobody is signed in any more.
    assert unexpected(watched, OVERTAKEN + UNRENEWED) == []
    watched.complaints.clear()


def unexpected(watched: Watched, expected: tuple[str, ...]) -> list[str]:  # noqa: F811
    """The complaints of the console, without those that a renewal of tokens may cause."""
    return [each for each in watched.complaints if not each.startswith(expected)]


async def test_a_deactivated_user_is_signed_out_and_sees_no_task(
    site: Callable[..., str],
    watched: Watched,  # noqa: F811
    tmp_path: Path,
) -> None:
    tab = watched.page
    await tab.goto(await asyncio.to_thread(site, **SESSIONS[0]))
    await tab.evaluate("post('sign-in', { address: 'gone@example.test' })")
    await started(tab, tmp_path / "file")
    await tab.reload()
    await expect(tab.locator("task-progress[state=STARTED]")).to_have_count(1)
    await tab.evaluate("post('end')")
    await expect(tab.locator('[data-part="text"]')).to_contain_text("signed out")
    (tmp_path / "file").touch()
    await tab.reload()
    await expect(tab.locator("task-progress")).to_have_count(0)
