"""The octets of WebSocket frames (RFC 6455, section 5.2), as far as most frames need them."""

from __future__ import annotations

from typing import Final

#: The first octet of a text that is one frame.
_TEXT: Final = 0x81
_MASKED: Final = 0x80
#: The longest payload whose length is one octet, and the code of a length of two.
_SHORT: Final = 125
_TWO_OCTETS: Final = 126
_MASK: Final = 4


def text_frame(payload: bytes) -> bytes:
    """Return an unmasked text frame."""
    length = len(payload)
    if length <= _SHORT:
        return b"\x81%c%b" % (length, payload)
    if length < 1 << 16:
        return b"\x81\x7e%b%b" % (length.to_bytes(2, "big"), payload)
    return b"\x81\x7f%b%b" % (length.to_bytes(8, "big"), payload)


def text_of(data: bytes) -> bytes | None:
    """Return the payload of a client's text, if ``data`` is its one frame and nothing else.

    That is how most frames of a client arrive. None for any other data, and for texts from 64 KiB.
    """
    if len(data) < 2 + _MASK or data[0] != _TEXT:
        return None
    size, start = data[1] - _MASKED, 2 + _MASK
    if size == _TWO_OCTETS:
        size, start = int.from_bytes(data[2:4], "big"), 4 + _MASK
        if size <= _SHORT:
            return None  # not the shortest form: a violation of the protocol
    elif not 0 <= size <= _SHORT:
        return None
    if len(data) != start + size:
        return None
    mask = (data[start - _MASK : start] * (size // _MASK + 1))[:size]
    masked = int.from_bytes(data[start:], "big")
    return (masked ^ int.from_bytes(mask, "big")).to_bytes(size, "big")
