"""The octets of WebSocket frames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.server.rfc6455 import PING, PONG, TEXT, text_frame, whole_frame
from tests.client import octets

SIZES = (0, 1, 125, 126, 127, 0xFFFF)


def masked(payload: bytes, mask: bytes, first: int = octets.FIN | TEXT) -> bytes:
    """Return a client's frame with a mask that changes the payload."""
    plain = octets.frame(payload, first)
    start = len(plain) - len(payload)
    hidden = bytes(each ^ mask[at % 4] for at, each in enumerate(payload))
    return plain[: start - 4] + mask + hidden


@pytest.mark.parametrize("size", [*SIZES, 0x10000])
def test_a_text_frame_has_the_shortest_length_and_the_payload(size):
    payload = b"x" * size
    assert octets.parse(text_frame(payload)) == (TEXT, payload, len(text_frame(payload)))
    assert len(text_frame(payload)) - size == (2 if size < 126 else 4 if size < 0x10000 else 10)


@pytest.mark.parametrize("size", SIZES)
def test_a_text_of_any_length_is_read_through_its_mask(size):
    payload = (b"abcdefg" * size)[:size]
    assert whole_frame(masked(payload, b"\x01\x80\xff\x00")) == (TEXT, payload)


@given(st.text(max_size=300), st.binary(min_size=4, max_size=4))
def test_every_text_and_mask_is_read(text, mask):
    assert whole_frame(masked(text.encode(), mask)) == (TEXT, text.encode())


@pytest.mark.parametrize("opcode", [PING, PONG])
@pytest.mark.parametrize("size", [0, 12, 125])
def test_a_ping_and_a_pong_may_have_any_octets(opcode, size):
    payload = b"\xff" * size
    assert whole_frame(masked(payload, b"abcd", octets.FIN | opcode)) == (opcode, payload)


TEXT_FRAME = octets.frame("hello")
OTHERS = {
    "nothing": b"",
    "a part of the head": TEXT_FRAME[:5],
    "a part of the payload": TEXT_FRAME[:-1],
    "more than the frame": TEXT_FRAME + b"\x81",
    "two frames": TEXT_FRAME * 2,
    "a first fragment": octets.frame("hello", TEXT),
    "a continuation": octets.frame("hello", octets.FIN | 0),
    "binary": octets.frame("hello", octets.FIN | 2),
    "a close": octets.frame(b"\x03\xe8", octets.FIN | octets.CLOSE),
    "a reserved bit": octets.frame("hello", octets.FIN | 0x40 | TEXT),
    "a reserved opcode": octets.frame("hello", octets.FIN | 3),
    "without a mask": b"\x81\x05hello",
    "without a mask, as long as with one": b"\x81\x09hellohell",
    "a long length of a short text": b"\x81\xfe\x00\x05" + bytes(4) + b"hello",
    "a length of eight octets": b"\x81\xff" + (5).to_bytes(8, "big") + bytes(4) + b"hello",
    "a ping that is too long": octets.frame(b"x" * 126, octets.FIN | PING),
    "a ping in fragments": octets.frame("hello", PING),
    "a text that is not UTF-8": octets.frame(b"\xff"),
    "half a surrogate pair": octets.frame(b"\xed\xa0\x80"),
}


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_all_other_data_is_left_to_the_library(data):
    assert whole_frame(data) is None
