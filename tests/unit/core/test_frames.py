"""Reading a client's frames and writing the server's."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.core import frames
from realtime.core.codes import CloseCode, ErrorCode
from realtime.core.frames import Cancel, Page, Ping, Subscribe, Unsubscribe
from realtime.core.position import Position
from realtime.core.topics import Topic
from realtime.exceptions import FrameError

TOPIC = "task:a-1"
POSITION = Position("e1", 7)
STATUS = '{"task_id":"a-1","state":"STARTED"}'

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
keys = st.sampled_from(["type", "id", "topic", "since", "token", "task_id", "x"])


def test_the_usual_ping_is_answered_from_its_text():
    assert frames.pong_for('{"type":"ping","id":4}') == '{"type":"pong","id":4}'
    assert frames.pong_for('{"type": "ping", "id": -4}') == '{"type":"pong","id":-4}'


OTHER_FRAMES = [
    '{"type":"ping","id":01}',
    '{"type":"ping","id":-0}',
    '{"type":"ping","id":9007199254740992}',
    '{"type":"ping","id":\u0664}',
    '{"type":"ping","id":4.0}',
    '{"type":"ping","id":4,"id":5}',
    '{"type":"ping","id":4}\n',
    '{"type":"ping","id":4}{',
    '{"type":"subscribe","id":4}',
    "",
]


@pytest.mark.parametrize("text", OTHER_FRAMES)
def test_any_other_text_is_left_to_the_parser(text):
    assert frames.pong_for(text) is None


@given(st.integers(), st.sampled_from([",", ", "]), st.sampled_from([":", ": "]), st.booleans())
def test_a_ping_that_is_answered_from_its_text_is_one_for_the_parser_too(
    number, comma, colon, reverse
):
    keys = {"id": number, "type": "ping"} if reverse else {"type": "ping", "id": number}
    text = json.dumps(keys, separators=(comma, colon))
    answer = frames.pong_for(text)
    if answer is not None:
        assert answer == frames.pong(frames.parse(text).id)


def test_each_frame_is_parsed_as_its_type():
    assert frames.parse('{"type":"ping","id":4}') == Ping(4)
    assert frames.parse('{"type":"cancel","id":3,"task_id":"a-1"}') == Cancel(3, "a-1")
    topic = Topic("task", "a-1")
    assert frames.parse('{"type":"unsubscribe","id":2,"topic":"task:a-1"}') == Unsubscribe(2, topic)
    assert frames.parse('{"type":"subscribe","id":1,"topic":"task:a-1"}') == Subscribe(1, topic)
    text = (
        '{"type":"subscribe","id":-1,"topic":"task:a-1","since":{"epoch":"e","offset":0},'
        '"token":"t"}'
    )
    assert frames.parse(text) == Subscribe(-1, topic, Position("e", 0), "t")
    text = '{"type":"subscribe","id":1,"topic":"user:me","limit":200,"detail":"summary"}'
    mine = Topic("user", "me")
    assert frames.parse(text) == Subscribe(1, mine, limit=200, detail="summary")
    text = '{"type":"page","id":1,"topic":"user:me","after":"x","limit":7}'
    assert frames.parse(text) == Page(1, mine, "x", 7)


@given(st.text(min_size=1, max_size=255))
def test_a_topic_of_any_text_is_repeated_as_it_was_given(ident):
    try:
        topic = str(Topic.parse(f"task:{ident}"))
    except ValueError:
        return
    text = json.dumps({"type": "subscribe", "id": 1, "topic": topic})
    assert str(frames.parse(text).topic) == topic
    for frame in (
        frames.subscribed(1, topic, POSITION, [], recovered=False),
        frames.event(topic, POSITION, "{}"),
        frames.snapshot(topic, POSITION, []),
        frames.page(1, topic, [], None),
        frames.unsubscribed(1, topic),
        frames.withdrawn(topic, ErrorCode.FORBIDDEN, ""),
    ):
        assert "\n" not in frame
        assert json.loads(frame)["topic"] == topic


def test_a_key_that_is_null_counts_as_missing():
    text = '{"type":"subscribe","id":1,"topic":"task:a-1","since":null,"token":null,'
    text += '"limit":null,"detail":null}'
    assert frames.parse(text) == Subscribe(1, Topic("task", "a-1"))


def test_the_error_of_a_frame_with_a_valid_id_has_that_id():
    with pytest.raises(FrameError) as error:
        frames.parse('{"type":"nothing","id":12}')
    assert error.value.frame_id == 12


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "a frame is one JSON object"),
        ("[" * 200_000, "a frame is one JSON object"),
        ('{"id":' + "9" * 5_000 + "}", "a frame is one JSON object"),
        ('{"id":1,"id":1}', "a key is there twice"),
        ('{"id":1,"x":-Infinity}', "-Infinity is not JSON"),
        ('{"id":true}', "id must be a whole number"),
        ('{"type":"cancel","id":1}', "task_id must be the id of a task"),
        ('{"type":"cancel","id":1,"task_id":"a\\u2028b"}', "task_id must be the id of a task"),
        (
            '{"type":"subscribe","id":1,"topic":"task:a","token":"\\ud800"}',
            "token is not Unicode text",
        ),
    ],
)
def test_the_error_names_what_is_wrong(text, message):
    with pytest.raises(FrameError) as error:
        frames.parse(text)
    assert str(error.value) == message


@given(st.dictionaries(keys, json_values))
def test_no_object_raises_anything_but_a_frame_error(frame):
    try:
        frames.parse(json.dumps(frame))
    except FrameError as error:
        json.dumps(str(error)).encode()


@given(st.text())
def test_no_text_raises_anything_but_a_frame_error(text):
    try:
        frames.parse(text)
    except FrameError:
        return
    raise AssertionError("a text that is no frame was accepted")


def test_the_servers_frames_are_those_of_the_protocol():
    limits = {"subscriptions": 128, "frame_bytes": 16384}
    assert json.loads(frames.welcome(now='"2026"', ping=25, limits=limits)) == {
        "type": "welcome",
        "protocol": 1,
        "ping": 25,
        "now": "2026",
        "limits": limits,
    }
    status = json.loads(STATUS)
    place = {"topic": TOPIC, "epoch": "e1", "offset": 7}
    listed = frames.Listed(3, "more")
    written = {
        frames.store(available=False): {"type": "store", "available": False},
        frames.subscribed(1, TOPIC, POSITION, [STATUS], recovered=False): {
            "type": "subscribed", "id": 1, **place, "recovered": False, "snapshot": [status],
            "expires_in": None,
        },
        frames.subscribed(
            1, TOPIC, POSITION, [STATUS], recovered=False, listed=listed, expires_in=60
        ): {
            "type": "subscribed", "id": 1, **place, "recovered": False, "snapshot": [status],
            "total": 3, "next": "more", "expires_in": 60,
        },
        frames.subscribed(1, TOPIC, POSITION, [STATUS, STATUS], recovered=True): {
            "type": "subscribed", "id": 1, **place, "recovered": True,
            "events": [{"offset": 6, "status": status}, {"offset": 7, "status": status}],
            "expires_in": None,
        },
        frames.subscribed(1, TOPIC, POSITION, [], recovered=True): {
            "type": "subscribed", "id": 1, **place, "recovered": True, "events": [],
            "expires_in": None,
        },
        frames.event(TOPIC, POSITION, STATUS): {"type": "event", **place, "status": status},
        frames.event(TOPIC, POSITION, STATUS, merged=3): {
            "type": "event", **place, "merged": 3, "status": status,
        },
        frames.snapshot(TOPIC, POSITION, []): {"type": "snapshot", **place, "snapshot": []},
        frames.snapshot(TOPIC, POSITION, [], frames.Listed(0, None)): {
            "type": "snapshot", **place, "snapshot": [], "total": 0, "next": None,
        },
        frames.page(2, TOPIC, [STATUS], "more"): {
            "type": "page", "id": 2, "topic": TOPIC, "snapshot": [status], "next": "more",
        },
        frames.unsubscribed(2, TOPIC): {"type": "unsubscribed", "id": 2, "topic": TOPIC},
        frames.cancelled(3, "a-1"): {"type": "cancelled", "id": 3, "task_id": "a-1"},
        frames.pong(4): {"type": "pong", "id": 4},
        frames.error(ErrorCode.LIMIT, "no", frame_id=5): {
            "type": "error", "id": 5, "code": "limit", "message": "no",
        },
        frames.error(ErrorCode.INTERNAL, "no", ref="1f"): {
            "type": "error", "code": "internal", "message": "no", "ref": "1f",
        },
        frames.closing(CloseCode.RESTART, "server restart"): {
            "type": "closing", "code": 1012, "message": "server restart", "reconnect": True,
        },
    }  # fmt: skip
    for text, expected in written.items():
        assert json.loads(text) == expected
