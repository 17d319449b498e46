"""Sites behind proxies and under a path: the page's address is not the server's."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings
from websockets.exceptions import InvalidStatus

from realtime.web.access.origins import is_allowed_origin
from tests.client.over_http import request
from tests.client.websocket import connect
from tests.conftest import web_starter
from tests.publishing import fresh_id, publish_change, token_for
from tests.until import until

pytestmark = pytest.mark.integration

DAPHNE = [sys.executable, "-m", "daphne", "-p", "{port}", "project.asgi:application"]
DAPHNE_UNDER_APP = [*DAPHNE[:-1], "--root-path=/app", DAPHNE[-1]]
FORCED = {"FORCE_SCRIPT_NAME": "/app"}


@dataclass
class Page:
    """A page's address as its visitor sees it."""

    url: str
    ws_url: str
    data_dir: Any


# Under a path


@pytest.fixture(scope="module")
def under_a_path(service: Any) -> Iterator[Callable[[str], Any]]:
    """Web processes of a site under /app, started when they are first needed."""
    given = {
        "serve": {"django": FORCED},
        "daphne": {"command": DAPHNE, "django": FORCED},
        "daphne --root-path": {"command": DAPHNE_UNDER_APP},
    }
    started: dict[str, Any] = {}
    with web_starter(service) as start:

        def web(server: str) -> Any:
            if server not in started:
                started[server] = start(**given[server])
            return started[server]

        yield web


@pytest.mark.parametrize("server", ["serve", "daphne", "daphne --root-path"])
async def test_a_site_under_a_path_has_both_whether_the_proxy_keeps_the_path_or_strips_it(
    under_a_path: Callable[[str], Any], server: str
) -> None:
    web, task_id = under_a_path(server), fresh_id()
    publish_change(task_id, "STARTED")
    token = token_for(web, f"task:{task_id}")
    for prefix in ("/app", ""):
        answer = request(web, "GET", f"{prefix}/realtime/tasks/{task_id}/", token=token)
        assert answer.json()["status"]["state"] == "STARTED", prefix
        page = Page(web.url, web.ws_url.replace("/realtime/", f"{prefix}/realtime/"), web.data_dir)
        async with connect(page) as client:
            assert (await client.subscribe(f"task:{task_id}", token=token))["snapshot"], prefix
    with pytest.raises(InvalidStatus):
        async with connect(Page(web.url, web.ws_url.replace("/ws/", "/ws/app/"), web.data_dir)):
            pass


# Behind a proxy


Rewrite = Callable[[bytes, int], bytes]


@asynccontextmanager
async def proxy(web: Any, rewrite: Callable[[bytes, int], bytes]) -> AsyncIterator[Page]:
    """A reverse proxy on a port of its own that rewrites the head of each connection."""

    writers: list[asyncio.StreamWriter] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", web.port)
        writers.extend([writer, far_writer])
        far_writer.write(rewrite(head, port))
        await asyncio.gather(
            pass_on(reader, far_writer), pass_on(far_reader, writer), return_exceptions=True
        )

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield Page(f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}/realtime/ws/", web.data_dir)
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.gather(*(each.wait_closed() for each in writers), return_exceptions=True)


def with_headers(head: bytes, **headers: str) -> bytes:
    for name, value in headers.items():
        line = f"{name.replace('_', '-')}: {value}\r\n".encode()
        head = re.sub(rb"(?im)^%b:[^\n]*\n" % name.replace("_", "-").encode(), b"", head)
        head = head.replace(b"\r\n", b"\r\n" + line, 1)
    return head


def documented(head: bytes, port: int) -> bytes:
    """As docs/deploy.md has it: `proxy_set_header Host $http_host`, which keeps the port."""
    return with_headers(head, X_Forwarded_Proto="http", X_Forwarded_For="192.0.2.1")


def rewritten_host(head: bytes, port: int) -> bytes:
    return with_headers(head, Host="backend", X_Forwarded_Host=f"127.0.0.1:{port}")


def port_of_its_own(head: bytes, port: int) -> bytes:
    return with_headers(
        head, Host="backend", X_Forwarded_Host="127.0.0.1", X_Forwarded_Port=str(port)
    )


def dropped_port(head: bytes, port: int) -> bytes:
    """As nginx's `$host`."""
    return with_headers(head, Host="127.0.0.1")


@pytest.fixture(scope="module")
def behind_a_proxy(service: Any) -> Iterator[Any]:
    """A web process that trusts its proxy's headers about the host and the port."""
    believed = {"USE_X_FORWARDED_HOST": True, "USE_X_FORWARDED_PORT": True}
    with web_starter(service) as start:
        yield start(django=believed, TRUSTED_PROXIES=1)


async def opens(page: Page) -> bool:
    try:
        async with connect(page):
            return True
    except InvalidStatus as refused:
        return refused.response.status_code != 403


def test_the_documented_proxy_keeps_the_port_of_the_address() -> None:
    text = Path("docs/deploy.md").read_text(encoding="utf-8")
    assert set(re.findall(r"proxy_set_header Host (\S+);", text)) == {"$http_host"}


@pytest.mark.parametrize("rewrite", [documented, rewritten_host, port_of_its_own])
async def test_a_page_behind_a_proxy_on_another_port_gets_its_socket(
    behind_a_proxy: Any, rewrite: Rewrite
) -> None:
    async with proxy(behind_a_proxy, rewrite) as page:
        assert await opens(page)
        evil = Page("https://evil.example", page.ws_url, page.data_dir)
        assert not await opens(evil)


async def test_a_refused_handshake_is_logged_with_the_setting_to_change(service: Any) -> None:
    before = service.web.log().count("handshake_refused")
    for rewrite, remedy in ((dropped_port, "$http_host"), (rewritten_host, "USE_X_FORWARDED_HOST")):
        async with proxy(Web(service), rewrite) as page:
            assert not await opens(page)

            def lines() -> list[str]:
                found = [x for x in service.web.log().splitlines() if "handshake_refused" in x]
                return [line for line in found[before:] if page.url in line]

            (line,) = until(lines)
            assert remedy in line
            assert "allowed=" in line


class Web:
    """The session's web process, as the proxy needs it."""

    def __init__(self, service: Any) -> None:
        self.port = int(service.web.env["PORT"])
        self.data_dir = service.data_dir


# The rules, one by one


def scope(origin: str, host: str = "example.com", *, scheme: str = "ws", **headers: str) -> Any:
    given = [(b"host", host.encode()), (b"origin", origin.encode())]
    given += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"scheme": scheme, "headers": given, "server": ("127.0.0.1", 8000)}


HOST = {"USE_X_FORWARDED_HOST": True}
PORT = {"USE_X_FORWARDED_PORT": True}
TLS = {"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}


@pytest.mark.parametrize(
    ("settings", "handshake", "allowed"),
    [
        (HOST, scope("http://example.com", "inner", x_forwarded_host="example.com"), True),
        (HOST, scope("http://example.com", "inner", x_forwarded_host="example.com:80"), True),
        (HOST, scope("http://inner", "inner", x_forwarded_host="example.com"), False),
        (HOST, scope("http://evil.test", "inner", x_forwarded_host="evil.test"), False),
        ({}, scope("http://example.com", "inner", x_forwarded_host="example.com"), False),
        (PORT, scope("http://example.com:81", x_forwarded_port="81"), True),
        (PORT, scope("http://example.com:81", x_forwarded_port="82"), False),
        (PORT, scope("http://example.com:81", x_forwarded_port="x"), False),
        ({}, scope("http://example.com:81", x_forwarded_port="81"), False),
        (TLS, scope("https://example.com", x_forwarded_proto="https"), True),
        (TLS, scope("https://example.com", x_forwarded_proto="https, http"), True),
        (TLS, scope("https://example.com", "example.com:443", x_forwarded_proto="https"), True),
        (TLS, scope("http://example.com", x_forwarded_proto="https"), False),
        (TLS, scope("http://example.com", x_forwarded_proto="http"), True),
    ],
)
def test_the_handshake_is_judged_by_djangos_own_rules(
    settings: Any, handshake: Any, allowed: bool
) -> None:
    with override_settings(ALLOWED_HOSTS=["example.com"], **settings):
        assert is_allowed_origin(handshake) is allowed


def test_lists_of_hosts_that_change_while_the_site_runs_are_used_at_once() -> None:
    """A handshake that was allowed before is not allowed for ever, whatever its other headers."""
    handshake = scope("http://shop.test", "shop.test")
    hosts = ["example.com", "shop.test"]
    with override_settings(ALLOWED_HOSTS=hosts):
        assert is_allowed_origin(handshake)
        hosts.remove("shop.test")
        assert not is_allowed_origin(handshake)


@pytest.mark.parametrize(
    ("handshake", "remedy"),
    [
        (scope("https://example.com"), "SECURE_PROXY_SSL_HEADER"),
        (scope("http://example.com:8443"), "$http_host"),
        (scope("http://shop.test", "shop.test"), "add the host 'shop.test' to ALLOWED_HOSTS"),
        (scope("https://shop.test"), "ALLOWED_ORIGINS"),
        (scope("null"), "no origin"),
        (
            scope("http://shop.test", x_forwarded_host="shop.test"),
            "USE_X_FORWARDED_HOST",
        ),
    ],
)
def test_the_log_names_the_setting_to_change_in_one_line(
    caplog: pytest.LogCaptureFixture, handshake: Any, remedy: str
) -> None:
    with override_settings(ALLOWED_HOSTS=["example.com"]), caplog.at_level(logging.WARNING):
        assert not is_allowed_origin(handshake)
    (line,) = caplog.messages
    assert remedy in line


def test_a_strangers_origin_forges_no_line_and_hides_no_remedy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with override_settings(ALLOWED_HOSTS=["example.com"]), caplog.at_level(logging.WARNING):
        assert not is_allowed_origin(scope("http://evil\nhandshake_refused \x1b[31m" + "x" * 9000))
    (line,) = caplog.messages
    assert line.isprintable()
    assert line.isascii()
    assert "remedy=" in line
    assert len(line) < 2000
