"""Pages of strangers that open a WebSocket: every handshake but the own page's gets a 403."""

from __future__ import annotations

from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.client.over_http import request
from tests.client.websocket import connect

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "origin",
    [
        pytest.param(None, id="missing"),
        pytest.param("null", id="null"),
        pytest.param("https://evil.example", id="foreign"),
        pytest.param("http://127.0.0.1:1", id="other-port"),
        pytest.param("http://127.0.0.1", id="no-port"),
        pytest.param("http://localhost:{port}", id="other-name-of-the-same-machine"),
        pytest.param("https://127.0.0.1:{port}", id="other-scheme"),
        pytest.param("ws://127.0.0.1:{port}", id="scheme-of-the-socket"),
        pytest.param("http://127.0.0.1.:{port}", id="trailing-dot"),
        pytest.param("http://127.0.0.1:{port}/", id="trailing-slash"),
        pytest.param("http://127.0.0.1:{port}@evil.example", id="disguised-as-a-user"),
        pytest.param("http://user@127.0.0.1:{port}", id="with-a-user"),
    ],
)
async def test_any_other_page_is_refused(service: Any, origin: str | None) -> None:
    given = origin and origin.format(port=service.url.rpartition(":")[2])
    with pytest.raises(InvalidStatus) as refused:
        async with connect(service, origin=given):
            pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("second", ["own", "https://evil.example"])
async def test_two_origins_are_refused(service: Any, second: str) -> None:
    more = ("Origin", service.url if second == "own" else second)
    with pytest.raises(InvalidStatus) as refused:
        async with connect(service, headers=[more]):
            pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    "origin",
    ["", "*", "http://[::1", "http://a:b", "file:///x", "http://127.0.0.1:{port}.evil.example"],
)
async def test_a_malformed_origin_is_refused(service: Any, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(service, origin=origin.format(port=service.url.rpartition(":")[2])):
            pass
    assert refused.value.response.status_code == 403


async def test_a_session_does_not_admit_a_foreign_page(service: Any, people: Any) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(service, session=people.alice.session, origin="https://evil.example"):
            pass
    assert refused.value.response.status_code == 403


async def test_the_page_of_a_name_that_django_does_not_serve_is_refused(service: Any) -> None:
    """As a foreign name that resolves to this machine: Origin and Host agree, and are not ours."""
    reader_host = "rebound.example"
    status = request(
        service,
        "GET",
        "/realtime/ws/",
        csrf=False,
        headers={
            "Host": reader_host,
            "Origin": f"http://{reader_host}",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        },
    ).code
    assert status == 403
