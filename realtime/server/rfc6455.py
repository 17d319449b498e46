"""The octets of WebSocket frames (RFC 6455, section 5.2), as far as most frames need them."""

from __future__ import annotations

from typing import Final

#: The first octet of a text that is one frame.
_TEXT: Final = 0x81
_MASKED: Final = 0x80
#: The longest payload whose length is one octet.
_SHORT: Final = 125


def text_frame(payload: bytes) -> bytes:
    """Return an unmasked text frame."""
    length = len(payload)
    if length <= _SHORT:
        return b"\x81%c%b" % (length, payload)
    if length < 1 << 16:
        return b"\x81\x7e%b%b" % (length.to_bytes(2, "big"), payload)
    return b"\x81\x7f%b%b" % (length.to_bytes(8, "big"), payload)


def short_text(data: bytes) -> bytes | None:
    """Return the payload of a client's short text, if ``data`` is its one frame and nothing else.

    This is the form of most frames of a client. None for any other data.
    """
    size = len(data) - 6
    if not 0 <= size <= _SHORT or data[0] != _TEXT or data[1] != _MASKED | size:
        return None
    mask = (data[2:6] * (size // 4 + 1))[:size]
    masked = int.from_bytes(data[6:], "big")
    return (masked ^ int.from_bytes(mask, "big")).to_bytes(size, "big")
