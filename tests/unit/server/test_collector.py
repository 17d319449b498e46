"""How often the garbage collector of a web process runs."""

import gc

import pytest

from realtime.server.collector import YOUNG, relieve


@pytest.fixture(autouse=True)
def _thresholds():
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ((700, 10, 10), (YOUNG, 10, 10)),
        ((2000, 10, 5), (YOUNG, 10, 5)),
        ((50_000, 20, 10), (50_000, 20, 10)),
        ((0, 10, 10), (0, 10, 10)),
    ],
)
def test_thresholds_are_raised_unless_the_project_has_its_own(given, left):
    gc.set_threshold(*given)
    relieve()
    assert gc.get_threshold() == left


def test_what_is_loaded_is_not_collected_any_more():
    loaded = [[]]
    relieve()
    assert not any(each is loaded for each in gc.get_objects())
    assert gc.get_freeze_count() > 0
