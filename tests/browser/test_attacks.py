"""Foreign pages, and markup in the texts of tasks, in a real browser."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.async_api import Browser, expect

import realtime
from tests.publishing import fresh_id, publish_change

EVIL = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>\'"</script>{{7*7}}'

#: Open a WebSocket from this page, subscribe to the visitor's tasks, return how it ends.
STEAL = """url => new Promise(resolve => {
  const socket = new WebSocket(url);
  socket.onmessage = ({ data }) => {
    const frame = JSON.parse(data);
    if (frame.type === "welcome") {
      socket.send(JSON.stringify({ type: "subscribe", id: 1, topic: "user:me" }));
    } else {
      resolve(frame);
      socket.close();
    }
  };
  socket.onclose = ({ code }) => resolve({ type: "closed", code });
})"""
#: Send an HTTP request with the visitor's cookies; return what the page could read of the answer.
ASK = """async ({ url, method }) => {
  try {
    const answer = await fetch(url, { method, credentials: "include", mode: "cors" });
    return await answer.text();
  } catch (error) { return `refused: ${error.name}`; }
}"""
SUBMIT = """url => {
  const form = document.createElement("form");
  form.method = "post";
  form.action = url;
  document.body.append(form);
  form.submit();
}"""


class _Page(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!doctype html><title>a stranger</title><body>hello"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


@contextmanager
def strangers_site() -> Iterator[int]:
    """A site on this machine that is not the service's; its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Page)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_foreign_page_gets_nothing_with_its_visitors_cookie(
    service: Any, people: Any, browser: Browser, host: str
) -> None:
    """The browser sends the cookie to another port of the host; to another site it may."""
    alice, task_id = people.alice, fresh_id()
    await asyncio.to_thread(publish_change, task_id, "STARTED", owner=alice.key)
    context = await browser.new_context()
    await context.add_cookies(
        [{"name": "sessionid", "value": alice.session, "url": service.url, "sameSite": "Lax"}]
    )
    page = await context.new_page()
    with strangers_site() as port:
        await page.goto(service.url)
        own = await page.evaluate(STEAL, service.ws_url)
        assert own["type"] == "subscribed", "it works on the own page"
        assert task_id in json.dumps(own)

        await page.goto(f"http://{host}:{port}/")
        assert await page.evaluate(STEAL, service.ws_url) == {"type": "closed", "code": 1006}
        for path, method in (
            (f"/realtime/tasks/{task_id}/", "GET"),
            (f"/realtime/tasks/{task_id}/result/", "GET"),
            (f"/realtime/tasks/{task_id}/cancel/", "POST"),
            ("/realtime/tokens/", "POST"),
        ):
            outcome = await page.evaluate(ASK, {"url": service.url + path, "method": method})
            assert outcome == "refused: TypeError", "the page may not read it"
        async with page.expect_navigation():
            await page.evaluate(SUBMIT, f"{service.url}/realtime/tasks/{task_id}/cancel/")
        assert '"code": "forbidden"' in await page.inner_text("body")
    await context.close()
    status = await asyncio.to_thread(realtime.status, task_id)
    assert status is not None
    assert not status.cancelling


async def test_only_the_check_of_the_origin_refuses_a_foreign_page(
    start_web: Any, people: Any, browser: Browser
) -> None:
    """The browser sends the visitor's cookie: an allowed page gets the visitor's answers."""
    context = await browser.new_context()
    page = await context.new_page()
    with strangers_site() as port:
        web = await asyncio.to_thread(start_web, ALLOWED_ORIGINS=[f"http://127.0.0.1:{port}"])
        await context.add_cookies(
            [{"name": "sessionid", "value": people.alice.session, "url": web.url}]
        )
        await page.goto(f"http://127.0.0.1:{port}/")
        assert (await page.evaluate(STEAL, web.ws_url))["type"] == "subscribed"
        await page.goto(f"http://localhost:{port}/")
        assert await page.evaluate(STEAL, web.ws_url) == {"type": "closed", "code": 1006}
    await context.close()


async def test_markup_in_all_texts_of_a_task_is_shown_as_text(
    service: Any, page: Any, people: Any
) -> None:
    """Under the page's own policy, for which the fixture requires that it refused nothing."""
    await page.context.add_cookies(
        [{"name": "sessionid", "value": people.bob.session, "url": service.url}]
    )
    await page.goto(service.url)
    await expect(page.locator("#connection-state")).to_have_text("live")
    key, runs, fails, ends = people.bob.key, fresh_id(), fresh_id(), fresh_id()
    progress = {"current": 1, "total": 2, "message": EVIL}

    def happen() -> None:
        for task_id in (runs, fails, ends):
            publish_change(task_id, "STARTED", owner=key, name=EVIL)
            publish_change(task_id, "PROGRESS", owner=key, name=EVIL, progress=progress)
        publish_change(fails, "FAILURE", owner=key, error={"type": EVIL, "message": EVIL})
        publish_change(ends, "SUCCESS", owner=key, result={EVIL: [EVIL]})

    await asyncio.to_thread(happen)
    for _ in range(2):
        cards = page.locator("#tasks > li")
        for task_id in (runs, fails, ends):
            card = page.locator(f'#tasks > li[data-id="{task_id}"]')
            await expect(card).to_contain_text("<img src=x onerror")
        assert await cards.locator("img, script").count() == 0
        assert await page.evaluate("window.hit") is None
        # And once more, as the server renders it.
        await page.reload()
        await expect(page.locator("#connection-state")).to_have_text("live")
