"""Pages that stay open, sleep, lose their network or come too often: in a real Chromium."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Request, expect

from tests.browser.conftest import browser, chromium_path, page, watched  # noqa: F401
from tests.conftest import web_starter
from tests.publishing import fresh_id, publish_change

pytestmark = [
    pytest.mark.integration,
    pytest.mark.browser,
    # One browser for the session lives in the session's loop, and so do its tests.
    pytest.mark.asyncio(loop_scope="session"),
]

SITE = {"ROOT_URLCONF": "tests.field.pages_site", "LANGUAGES": [("en", "en"), ("de", "de")]}

#: Seconds that a token lives.
AGE = 5
BRIEF: dict[str, Any] = {"TOKEN_AGE": AGE, "MAX_FRAME_BURST": 10, "MAX_FRAMES_PER_SECOND": 20}

#: In every page before its own scripts: remembers the page's sockets.
WATCH_SOCKETS = """window.sockets = [];
window.WebSocket = class extends WebSocket {
  constructor(url) { super(url); window.sockets.push(this); }
};"""
#: Lose the connection, as when a network goes.
CUT = """() => {
  const socket = sockets.at(-1);
  const { onclose } = socket;
  socket.onclose = null;
  socket.close();
  onclose?.({ code: 1006, reason: "" });
}"""
OPEN = "sockets.filter(({ readyState }) => readyState <= 1).length"
#: Follows tasks in the page: `window.ended` has the state of each that ended, or its error.
FOLLOW = """async () => {
  const { connect } = await import("/static/realtime/client.js");
  window.ended = {};
  window.follow = (id, token) => {
    const task = connect().task(id, { token });
    task.done().then(({ state }) => { ended[id] = state; }, ({ code }) => { ended[id] = code; });
    return task;
  };
}"""


@pytest.fixture(scope="module")
def webs(service: Any) -> Iterator[Callable[..., Any]]:
    """Web processes of the small site, each started when it is first needed."""
    started: dict[str, Any] = {}
    with web_starter(service) as start:

        def web(django: dict[str, Any] | None = None) -> Any:
            key = json.dumps(django)
            if key not in started:
                started[key] = start(django=SITE | (django or {}), **BRIEF)
            return started[key]

        yield web


@pytest_asyncio.fixture(loop_scope="session")
async def tab(browser: Browser) -> AsyncIterator[Page]:  # noqa: F811
    """A fresh visitor's page, which may complain."""
    context = await browser.new_context()
    await context.add_init_script(WATCH_SOCKETS)
    tab = await context.new_page()
    tab.set_default_timeout(30_000)
    yield tab
    await context.close()


async def opened(tab: Page, web: Any, path: str = "/page/") -> None:
    await tab.goto(f"{web.url}{path}")
    await tab.evaluate(FOLLOW)


async def started(tab: Page, file: Path) -> dict[str, str]:
    """Start a task as this page's visitor, which runs until the file is there."""
    answer = await tab.evaluate(
        "async (file) => (await fetch(`/start/?hold=${file}`, { method: 'POST' })).json()",
        str(file),
    )
    return dict(answer)


async def tokens_of(tab: Page, ids: list[str], *, under: str = "") -> list[str]:
    """Fetch a token for each task, as the site's pages do."""
    return list(
        await tab.evaluate(
            """async ([ids, under]) => Promise.all(ids.map(async id => {
              const url = `${under}/token/?id=${encodeURIComponent(id)}`;
              return (await (await fetch(url)).json()).token;
            }))""",
            [ids, under],
        )
    )


async def show(tab: Page, task_id: str, *, under: str = "") -> None:
    """Add an element that shows a task."""
    [token] = await tokens_of(tab, [task_id], under=under)
    await tab.evaluate(
        """([id, token]) => {
          const element = document.createElement("task-progress");
          element.setAttribute("task-id", id);
          element.setAttribute("token", token);
          document.body.append(element);
        }""",
        [task_id, token],
    )


async def ended(tab: Page, count: int) -> dict[str, str]:
    await tab.wait_for_function("count => Object.keys(ended).length >= count", arg=count)
    return dict(await tab.evaluate("ended"))


# P1, C7, C8


@pytest.mark.timeout(180)
async def test_tokens_renew_themselves_and_no_ending_is_missed(
    webs: Callable[..., Any], tab: Page, tmp_path: Path, amount: Callable[[int, int], int]
) -> None:
    """The page is open for many times the age of its tokens, and sleeps and reconnects."""
    web = await asyncio.to_thread(webs)
    requests: list[float] = []

    def on_request(request: Request) -> None:
        if request.url.endswith("/realtime/tokens/"):
            requests.append(time.monotonic())

    tab.on("request", on_request)
    received: list[str] = []
    tab.on(
        "websocket",
        lambda socket: socket.on("framereceived", lambda text: received.append(str(text))),
    )
    await opened(tab, web)
    devtools = await tab.context.new_cdp_session(tab)
    sources = [
        "({ id, token }) => { follow(id, token); }",
        """({ id }) => {
          follow(id, async () => (await (await fetch(`/token/?id=${id}`)).json()).token);
        }""",
        # The visitor's list, which the session opens.
        "({ id }) => { followed.add(id); }",
    ]
    await tab.evaluate(
        """async () => {
          const { connect, isTerminal } = await import("/static/realtime/client.js");
          window.followed = new Set();
          connect().topic("user:me").onStatus(status => {
            const { task_id: id, state } = status;
            if (followed.has(id) && isTerminal(status)) ended[id] = state;
          });
        }"""
    )
    begin, files, rounds, each = time.monotonic(), [], amount(2, 14), amount(1, 5)
    for number in range(rounds):
        for source in sources * each:
            file = tmp_path / secrets.token_hex(4)
            task = await started(tab, file)
            await tab.evaluate(source, task)
            files.append(file)
        if number % 2 == 0:
            await tab.evaluate(CUT)
        else:
            # Longer than a token lives; then the page wakes.
            await devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
            await asyncio.sleep(AGE / 4 if number % 4 == 1 else AGE * 1.2)
            await devtools.send("Page.setWebLifecycleState", {"state": "active"})
        # A token's half is over before these end.
        await asyncio.sleep(AGE * 0.55)
        # All of this round, so that the worker has a place for the next one's.
        for file in files[-3 * each :]:
            file.touch()
        assert len(await ended(tab, len(files))) == len(files)
    seconds = time.monotonic() - begin
    states = await ended(tab, len(files))
    missed = [task_id for task_id, state in states.items() if state != "SUCCESS"]
    assert missed == [], [text for text in received if any(each in text for each in missed)]
    hourly = len(requests) / seconds * 3600 * AGE / 900
    print(
        f"\n{len(files)} endings, 0 missed, in {seconds:.0f} s = {seconds / AGE:.0f} terms; "
        f"{len(requests)} token requests: {hourly:.1f} per page and hour with TOKEN_AGE 900"
    )
    # At least half a term lies between two renewals; the rest is by refusals.
    assert len(requests) <= seconds / (AGE / 2) + 3 * rounds * each


async def test_a_page_whose_session_allows_nothing_shows_that_its_token_ended(
    webs: Callable[..., Any], tab: Page
) -> None:
    """A token that another user passed on cannot be renewed: it ends."""
    web = await asyncio.to_thread(webs)
    warnings: list[str] = []
    tab.on("console", lambda message: warnings.append(message.text))
    task_id = fresh_id()
    await asyncio.to_thread(publish_change, task_id, "STARTED", owner="somebody")
    await opened(tab, web)
    await show(tab, task_id)
    text = tab.locator('task-progress [data-part="text"]')
    await expect(text).to_have_text("running")
    await expect(text).to_contain_text("not valid any more", timeout=30_000)
    assert any("tokens are not renewed" in warning for warning in warnings), warnings


# P2, P3


async def test_25_expired_tasks_on_a_page_do_not_end_the_running_one(
    webs: Callable[..., Any], tab: Page, tmp_path: Path
) -> None:
    web = await asyncio.to_thread(webs)
    await opened(tab, web)
    task = await started(tab, tmp_path / "file")
    await tab.evaluate("task => { follow(task.id, task.token); }", task)
    await tab.evaluate(
        "ids => { for (const id of ids) follow(id); }", [fresh_id() for _ in range(25)]
    )
    states = await ended(tab, 20)
    assert set(states.values()) == {"not_found"}
    (tmp_path / "file").touch()
    await tab.wait_for_function("id => ended[id] === 'SUCCESS'", arg=task["id"])
    assert await tab.evaluate(OPEN) == 1


async def test_a_page_with_more_tasks_than_the_burst_shows_them_all(
    webs: Callable[..., Any], tab: Page
) -> None:
    web = await asyncio.to_thread(webs)
    ids = [fresh_id() for _ in range(40)]

    def happen() -> None:
        for task_id in ids:
            publish_change(task_id, "FAILURE", owner="somebody")

    await asyncio.to_thread(happen)
    await opened(tab, web)
    for task_id, token in zip(ids, await tokens_of(tab, ids), strict=True):
        await tab.evaluate("([id, token]) => { follow(id, token); }", [task_id, token])
    assert set((await ended(tab, 40)).values()) == {"FAILURE"}
    assert await tab.evaluate("sockets.length") == 1


# P4


async def test_every_client_of_a_page_shares_one_connection_which_closes_when_idle(
    webs: Callable[..., Any], tab: Page, tmp_path: Path
) -> None:
    """Twelve clicks, the element and both bundles: one socket."""
    web = await asyncio.to_thread(webs)
    await opened(tab, web)
    tasks = [await started(tab, tmp_path / "file") for _ in range(2)]
    await tab.evaluate(
        """tasks => {
          window.handles = [];
          for (let i = 0; i < 12; i += 1) {
            const { id, token } = tasks[i % 2];
            handles.push(follow(id, token));
          }
        }""",
        tasks,
    )
    await show(tab, tasks[0]["id"])
    (tmp_path / "file").touch()
    await expect(tab.locator("task-progress")).to_have_attribute("state", "SUCCESS")
    await ended(tab, 2)
    assert await tab.evaluate("sockets.length") == 1
    await tab.wait_for_function(f"() => {OPEN} === 0")
    await expect(tab.locator("task-progress")).to_have_attribute("connection", "disconnected")


async def test_a_refused_tab_shows_the_reason_on_the_page_and_in_the_console(
    start_web: Any, people: Any, tab: Page
) -> None:
    web = await asyncio.to_thread(start_web, MAX_CONNECTIONS_PER_USER=1)
    cookie = {"name": "sessionid", "value": people.alice.session, "url": web.url}
    await tab.context.add_cookies([cookie])
    await tab.goto(web.url)
    await expect(tab.locator("#connection-state")).to_have_text("live")
    other = await tab.context.new_page()
    warnings: list[str] = []
    other.on("console", lambda message: warnings.append(message.text))
    await other.goto(web.url)
    await expect(other.locator("#connection-reason")).to_contain_text(
        "at most 1 connections a user"
    )
    await expect(other.locator("#connection-state")).to_have_text("offline")
    assert any("at most 1 connections a user (1013)" in warning for warning in warnings), warnings
    await tab.close()
    await other.bring_to_front()
    await expect(other.locator("#connection-state")).to_have_text("live", timeout=60_000)


# P5, N5, N6


async def test_an_element_follows_its_attributes_and_leaves_nothing_behind(
    webs: Callable[..., Any], tab: Page
) -> None:
    web = await asyncio.to_thread(webs)
    ids = [fresh_id() for _ in range(3)]

    def happen() -> None:
        for number, task_id in enumerate(ids):
            progress = {"current": number, "total": 9, "message": None}
            publish_change(task_id, "PROGRESS", owner="somebody", progress=progress)

    await asyncio.to_thread(happen)
    await opened(tab, web)
    tokens = await tokens_of(tab, ids)
    await tab.evaluate("document.body.append(document.createElement('task-progress'))")
    element, text = tab.locator("task-progress"), tab.locator('task-progress [data-part="text"]')
    await expect(text).to_have_text("")
    for number, (task_id, token) in enumerate(zip(ids, tokens, strict=True)):
        await element.evaluate(
            """(it, [id, token, label]) => {
              it.setAttribute("task-id", id);
              it.setAttribute("token", token);
              it.setAttribute("label", label);
            }""",
            [task_id, token, f"Task {number}"],
        )
        await expect(text).to_have_text(f"running: {number} of 9")
        await expect(element.locator('[data-part="label"]')).to_have_text(f"Task {number}")
        await expect(element.get_by_role("progressbar")).to_have_accessible_name(f"Task {number}")
    # Only the last one is subscribed to.
    await asyncio.to_thread(publish_change, ids[0], "FAILURE", owner="somebody")
    await asyncio.to_thread(publish_change, ids[2], "SUCCESS", owner="somebody")
    await expect(text).to_have_text("succeeded")
    await element.evaluate("it => it.removeAttribute('task-id')")
    await expect(text).to_have_text("")
    assert await tab.evaluate("sockets.length") == 1


async def test_elements_survive_the_scripts_of_a_page(
    webs: Callable[..., Any], tab: Page, tmp_path: Path
) -> None:
    """They are replaced, moved, doubled, changed in a hurry, and there before their script."""
    web = await asyncio.to_thread(webs)
    sent: list[str] = []
    tab.on("websocket", lambda socket: socket.on("framesent", lambda text: sent.append(str(text))))
    await opened(tab, web)
    tasks = [await started(tab, tmp_path / str(number)) for number in range(2)]
    odd_id = 'an "id" <b>\'/?#&</script> ünï 😀'
    await asyncio.to_thread(publish_change, odd_id, "STARTED", owner="somebody")
    # Before the script.
    query = "&".join(f"id={task['id']}" for task in tasks)
    await tab.route("**/task-progress.js", lambda route: route.abort(), times=1)
    await tab.goto(f"{web.url}/page/?{query}&id={quote(odd_id)}")
    elements = tab.locator("task-progress")
    await expect(elements.nth(0).locator('[data-part="text"]')).to_contain_text("running")
    await expect(elements.nth(2)).to_have_attribute("task-id", odd_id)
    await tab.evaluate(FOLLOW)
    await tab.evaluate("import('/static/realtime/task-progress.js')")
    await expect(elements.nth(1)).to_have_attribute("connection", "connected")
    # Somebody else's, and there is no token for it.
    text = elements.nth(2).locator('[data-part="text"]')
    await expect(text).to_have_text("no such task, or not for you")
    [token] = await tokens_of(tab, [odd_id])
    await elements.nth(2).evaluate("(it, token) => it.setAttribute('token', token)", token)
    await expect(text).to_have_text("running")
    await expect(elements.nth(2).get_by_role("progressbar")).to_be_visible()
    # Moved, and moved out and in again: no request is sent.
    before = len(sent)
    await tab.evaluate(
        """() => {
          const element = document.querySelector("task-progress");
          document.body.append(element);
          element.remove();
          document.body.prepend(element);
        }"""
    )
    # Copied, and replaced by HTML of the server, as htmx does.
    await tab.evaluate(
        """async () => {
          const [first, second] = document.querySelectorAll("task-progress");
          document.body.append(first.cloneNode(true));
          const page = await (await fetch(location.href)).text();
          const fresh = new DOMParser().parseFromString(page, "text/html");
          second.outerHTML = fresh.querySelectorAll("task-progress")[1].outerHTML;
        }"""
    )
    await expect(elements).to_have_count(4)
    await expect(tab.locator('[state="STARTED"][connection="connected"]')).to_have_count(4)
    requests = [json.loads(text) for text in sent[before:]]
    assert {frame["topic"] for frame in requests} <= {f"task:{tasks[1]['id']}"}, requests
    # Changed in a hurry: the last one counts.
    await elements.nth(3).evaluate(
        """(it, [one, two]) => {
          for (let i = 0; i < 50; i += 1) it.setAttribute("task-id", i % 2 ? one : `none-${i}`);
          it.setAttribute("task-id", two.id);
          it.setAttribute("token", two.token);
        }""",
        [tasks[0]["id"], tasks[1]],
    )
    await elements.nth(3).evaluate("it => it.setAttribute('texts', '{not json')")
    for number in range(2):
        (tmp_path / str(number)).touch()
    await expect(tab.locator("task-progress[state=SUCCESS]")).to_have_count(3)
    await expect(elements.nth(3).locator('[data-part="text"]')).to_have_text("succeeded")
    assert await tab.evaluate("sockets.length") == 1


async def test_an_element_uses_the_pages_language_and_is_read_aloud_seldom(
    webs: Callable[..., Any], tab: Page, tmp_path: Path
) -> None:
    web = await asyncio.to_thread(webs)
    await opened(tab, web)
    task = await started(tab, tmp_path / "file")
    await tab.goto(f"{web.url}/page/?language=de&label=Einlesen&id={task['id']}")
    element = tab.locator("task-progress")
    await expect(element.locator('[data-part="label"]')).to_be_visible()
    await expect(element.locator('[data-part="text"]')).to_have_text("läuft")
    aloud = element.get_by_role("status")
    await expect(aloud).to_have_text("Einlesen: läuft")
    await tab.evaluate(
        """() => {
          window.aloud = [];
          const place = document.querySelector('[role="status"]');
          new MutationObserver(() => aloud.push(place.textContent)).observe(place,
            { childList: true, characterData: true, subtree: true });
        }"""
    )
    element_text = element.locator('[data-part="text"]')

    def progress(current: int | None, message: str | None) -> None:
        progress = {"current": current, "total": 55, "message": message}
        publish_change(task["id"], "PROGRESS", owner="", progress=progress)

    for current in range(1, 31):
        await asyncio.to_thread(progress, current, None)
    await expect(element_text).to_have_text("läuft: 30 von 55")
    await asyncio.to_thread(progress, None, "train <b>")
    await expect(element_text).to_have_text("läuft: train <b>")
    assert await element.get_by_role("progressbar").get_attribute("value") is None
    (tmp_path / "file").touch()
    await expect(element_text).to_have_text("erledigt")
    texts = await tab.evaluate("aloud")
    assert texts[-1] == "Einlesen: erledigt"
    assert len(texts) <= 5, texts


# P7


async def test_a_page_under_a_path_connects_under_it(webs: Callable[..., Any], tab: Page) -> None:
    web = await asyncio.to_thread(webs, django={"FORCE_SCRIPT_NAME": "/app"})
    task_id = fresh_id()
    await asyncio.to_thread(publish_change, task_id, "STARTED", owner="somebody")
    await tab.goto(f"{web.url}/app/page/")
    await show(tab, task_id, under="/app")
    await expect(tab.locator("task-progress")).to_have_attribute("state", "STARTED")
    [url] = await tab.evaluate("sockets.map(({ url }) => url)")
    assert url == f"{web.url.replace('http', 'ws')}/app/realtime/ws/"


# P15, C7


async def test_a_page_restored_from_the_cache_connects_once_and_is_current(
    webs: Callable[..., Any], tab: Page
) -> None:
    web = await asyncio.to_thread(webs)
    task_id = fresh_id()
    await asyncio.to_thread(publish_change, task_id, "STARTED", owner="somebody")
    await opened(tab, web)
    await tab.evaluate(
        "async id => { follow(id, (await (await fetch(`/token/?id=${id}`)).json()).token); }",
        task_id,
    )
    await tab.wait_for_function("() => sockets[0]?.readyState === 1")
    await tab.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    await tab.wait_for_function(f"() => {OPEN} === 0")
    await asyncio.to_thread(publish_change, task_id, "FAILURE", owner="somebody")
    await tab.evaluate(
        """() => {
          dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }));
          dispatchEvent(new Event("online"));
          document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
        }"""
    )
    assert await ended(tab, 1) == {task_id: "FAILURE"}
    assert await tab.evaluate("sockets.length") == 2


# P16


async def test_a_page_shows_why_its_handshakes_are_refused(
    start_web: Any,
    tab: Page,
    browser: Browser,  # noqa: F811
) -> None:
    web = await asyncio.to_thread(start_web, MAX_CONNECTIONS=1, django=SITE)
    await opened(tab, web)
    reason = """async path => {
      const { connect } = await import("/static/realtime/client.js");
      const tasks = connect(path);
      tasks.task("any");
      return new Promise(resolve => {
        tasks.onState(({ reason }) => { if (/\\(|sign/.test(reason)) resolve(reason); });
      });
    }"""
    assert await tab.evaluate(reason, "/nowhere/ws/") == ("no such service at this address (404)")
    assert "signing in is needed" in await tab.evaluate(reason, "/wall/ws/")
    # One has the only connection, as long as its page subscribes to something.
    await tab.evaluate(
        """async () => {
          const { connect } = await import("/static/realtime/client.js");
          connect().topic("user:me");
        }"""
    )
    await tab.wait_for_function(f"() => {OPEN} === 1")
    context = await browser.new_context()
    other = await context.new_page()
    await opened(other, web)
    assert await other.evaluate(reason, "/realtime/ws/") == "no room for more connections (503)"
    await context.close()


# P17


@pytest.mark.timeout(180)
async def test_a_page_shows_that_updates_are_delayed_while_redis_is_away(
    start_service: Any, tab: Page
) -> None:
    service = await asyncio.to_thread(start_service, WORKERS="1")
    await tab.goto(service.url)
    word = tab.locator("#connection-state")
    await expect(word).to_have_text("live")
    await asyncio.to_thread(service.redis.stop)
    await expect(word).to_have_text("delayed")
    await expect(tab.locator("#connection-reason")).to_contain_text("cannot reach its store")
    await asyncio.to_thread(service.redis.start)
    await expect(word).to_have_text("live", timeout=60_000)
