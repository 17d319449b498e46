"""The octets of WebSocket frames (RFC 6455, section 5.2), as far as most frames need them."""

from __future__ import annotations

from typing import Final

TEXT: Final = 1
PING: Final = 9
PONG: Final = 10
#: A frame without a payload.
EMPTY_PING: Final = b"\x89\x00"

_FIN: Final = 0x80
_MASKED: Final = 0x80
_MASK: Final = 4
#: The longest payload whose length is one octet, and the code of a length of two.
_SHORT: Final = 125
_TWO_OCTETS: Final = 126


def text_frame(payload: bytes) -> bytes:
    """Return an unmasked text frame."""
    length = len(payload)
    if length <= _SHORT:
        return b"\x81%c%b" % (length, payload)
    if length < 1 << 16:
        return b"\x81\x7e%b%b" % (length.to_bytes(2, "big"), payload)
    return b"\x81\x7f%b%b" % (length.to_bytes(8, "big"), payload)


def whole_frame(data: bytes) -> tuple[int, bytes] | None:
    """Return opcode and payload of a client's frame, if ``data`` is that frame and nothing else.

    That is how most frames of a client arrive. None for all other data: for frames of other
    opcodes than these three, for parts of messages, for violations of the protocol, texts that are
    not UTF-8 among them, and for payloads from 64 KiB.
    """
    if len(data) < 2 + _MASK:
        return None
    opcode, size, start = data[0] - _FIN, data[1] - _MASKED, 2 + _MASK
    if opcode != TEXT and (opcode not in (PING, PONG) or size > _SHORT):
        return None
    if size == _TWO_OCTETS:
        size, start = int.from_bytes(data[2:4], "big"), 4 + _MASK
        if size <= _SHORT:
            return None  # not the shortest form
    elif not 0 <= size <= _SHORT:
        return None
    if len(data) != start + size:
        return None
    mask = (data[start - _MASK : start] * (size // _MASK + 1))[:size]
    masked = int.from_bytes(data[start:], "big")
    payload = (masked ^ int.from_bytes(mask, "big")).to_bytes(size, "big")
    return (opcode, payload) if opcode != TEXT or _is_utf8(payload) else None


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
