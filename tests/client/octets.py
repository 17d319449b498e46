"""The bytes of a WebSocket's client: the handshake, and frames (RFC 6455)."""

from __future__ import annotations

import base64
import struct

HOST = "127.0.0.1"
PATH = "/realtime/ws/"

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
#: The first bit of a frame: it is the last one of its message.
FIN = 0x80

_KEY = base64.b64encode(bytes(16)).decode()


def handshake(port: int, *headers: str, path: str = PATH, cookie: str = "") -> bytes:
    """Return the request for a WebSocket, from the server's own page if no header is an Origin."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {HOST}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {_KEY}",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    if not any(line.startswith("Origin") for line in headers):
        lines.append(f"Origin: http://{HOST}:{port}")
    if cookie:
        lines.append(f"Cookie: sessionid={cookie}")
    return "\r\n".join([*lines, "", ""]).encode()


def frame(payload: str | bytes, first: int = FIN | TEXT) -> bytes:
    """Return a client's frame of up to 64 KiB; `first` is its first byte: FIN and the opcode.

    Its mask is zero: the protocol allows any mask, and this one leaves the payload as it is.
    """
    data = payload.encode() if isinstance(payload, str) else payload
    size = len(data)
    if size < 126:
        return struct.pack("!BB4x", first, 0x80 | size) + data
    return struct.pack("!BBH4x", first, 0x80 | 126, size) + data


def parse(buffer: bytes | bytearray, start: int = 0) -> tuple[int, bytes, int] | None:
    """Return the opcode and payload of the server's frame at `start`, and where the next begins.

    None if the frame is not complete.
    """
    left = len(buffer) - start
    if left < 2:
        return None
    length, head = buffer[start + 1], 2
    if length == 126:
        length, head = int.from_bytes(buffer[start + 2 : start + 4], "big"), 4
    elif length == 127:
        length, head = int.from_bytes(buffer[start + 2 : start + 10], "big"), 10
    if left < head or left < head + length:
        return None
    end = start + head + length
    return buffer[start] & 0x0F, bytes(buffer[start + head : end]), end
