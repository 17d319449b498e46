"""The recent heads: what follows on a place, and what does not."""

import pytest

from realtime.core.position import Head, Position
from realtime.store.recent import (
    MAX_RECENT,
    Found,
    Place,
    Recent,
    RecentInMemory,
    read_recent,
    texts_after,
)

TEXTS = [f"e {number} 0 task:{number}" for number in range(1, 6)]
PLACE = Place("list", 2, TEXTS[1])
NEWEST = Place("list", 5, TEXTS[4])


@pytest.mark.parametrize(
    ("found", "most", "after"),
    [
        (Found(NEWEST, TEXTS[1:]), 3, TEXTS[2:]),
        (Found(PLACE, TEXTS[1:2]), 3, []),
        (Found(NEWEST, TEXTS[1:]), 2, None),
        (Found(NEWEST, ()), 3, None),
        (Found(NEWEST, TEXTS[2:]), 3, None),
        (Found(None, ()), 3, None),
    ],
    ids=["some", "none", "too many", "gap or another epoch", "went back", "no list"],
)
def test_what_follows_on_a_place(found, most, after):
    assert texts_after(PLACE, found, most) == after


def head(number):
    return Head(Position("e", number), number)


async def test_changes_are_read_in_parts_and_the_newest_head_of_each_topic_is_returned():
    recent = RecentInMemory()
    recent.add("task:0", head(0))
    place = (await read_recent(recent.find, None, 10)).place
    sizes = []

    async def find(place, count):
        found = await recent.find(place, count)
        sizes.append(len(found.texts))
        return found

    for number in range(2500):
        recent.add(f"user:{number % 3} of a name", head(number))
    answer = await read_recent(find, place, 2500)
    newest = (2497, 2498, 2499)
    assert answer.heads == {f"user:{number % 3} of a name": head(number) for number in newest}
    assert max(sizes) == 1000
    assert await read_recent(recent.find, answer.place, 0) == Recent(answer.place, {})
    assert await read_recent(recent.find, place, 2499) == Recent(answer.place, None)


async def test_an_element_has_the_heads_of_one_call_whatever_their_topics_are_named():
    element = "e 1 2 realtime:head:task:a b\u2028c\nf 3 4 realtime:head:user:1"
    newest = Place("list", 1, element)

    async def find(place, count):
        return Found(newest, ["", element])

    answer = await read_recent(find, Place("list", 0, ""), 10, prefix="realtime:head:")
    assert answer == Recent(
        newest,
        {
            "task:a b\u2028c": Head(Position("e", 1), 2),
            "user:1": Head(Position("f", 3), 4),
        },
    )


async def test_a_place_that_was_cut_off_is_not_known():
    recent = RecentInMemory()
    recent.add("task:0", head(0))
    place = (await read_recent(recent.find, None, 10)).place
    for number in range(MAX_RECENT):
        recent.add("task:1", head(number))
    answer = await read_recent(recent.find, place, 2 * MAX_RECENT)
    assert (answer.heads, answer.place.number) == (None, MAX_RECENT + 1)


async def test_an_empty_list_knows_nothing():
    assert await read_recent(RecentInMemory().find, None, 10) == Recent(None, None)


async def test_a_removed_topic_has_a_head_that_no_hub_has():
    recent = RecentInMemory()
    recent.add("task:0", head(1))
    place = (await read_recent(recent.find, None, 10)).place
    recent.add("task:0", None)
    removed = (await read_recent(recent.find, place, 10)).heads["task:0"]
    assert removed.position.epoch != "e"
