"""The server itself refuses a body that is too large, before it fills memory or disk."""

from __future__ import annotations

import http.client
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from project.processes import Process
from project.run import page_answers
from realtime.conf import Settings

HOST = "127.0.0.1"
MAX_BODY_BYTES = Settings().MAX_BODY_BYTES
HEAD = b"POST /start/import/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.fixture
def web(service) -> Process:
    """The service's web process."""
    return service.web


@pytest.fixture
def connection(web) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, int(web.env["PORT"])), timeout=20) as connection:
        yield connection


def read_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def peak_kilobytes(web: Process) -> int:
    """The peak of the memory of the process."""
    lines = Path(f"/proc/{web.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def test_hundred_megabytes_are_refused_at_their_announcement(web, connection):
    connection.sendall(HEAD + b"Content-Length: 100000000\r\n\r\n")
    answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"That is more than 10 MB. Nothing was started.\n")
    # A client that goes on sending is neither kept nor cut off before it has read the answer.
    connection.sendall(b"x" * 1_000_000)


def test_expect_100_continue_is_not_invited_for_a_refused_body(web, connection):
    connection.sendall(HEAD + b"Content-Length: 100000000\r\nExpect: 100-continue\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory in use from /proc")
def test_body_without_a_length_is_refused_when_it_has_grown_too_large(web, connection):
    before = peak_kilobytes(web)
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    piece = b"x" * 100_000
    for _ in range(2 * MAX_BODY_BYTES // len(piece)):
        connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
    connection.sendall(b"0\r\n\r\n")
    assert read_all(connection).startswith(b"HTTP/1.1 413 ")
    assert peak_kilobytes(web) - before < 8_000


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory in use from /proc")
def test_largest_upload_needs_little_more_memory_than_its_size(web, service):
    client = http.client.HTTPConnection(HOST, int(web.env["PORT"]), timeout=20)
    client.request("GET", "/")
    client.getresponse().read()
    before = peak_kilobytes(web)
    body = b'--b\r\nContent-Disposition: form-data; name="uploads"; filename="a.csv"\r\n\r\n'
    body += b"x" * 10_000_000 + b"\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    client.request("POST", "/start/import/", body, headers)
    # Not a form of ours: the whole of it was read to find that out.
    assert client.getresponse().status == 403
    client.close()
    assert peak_kilobytes(web) - before < 32_000


def test_others_are_served_meanwhile(web, connection):
    connection.sendall(HEAD + b"Content-Length: 100000000\r\n\r\n")
    assert connection.recv(65536)
    assert page_answers(HOST, int(web.env["PORT"]))
