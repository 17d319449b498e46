"""What `make compare` concludes from its pairs."""

import pytest

from benchmarks.pairs import interval, report


def test_the_interval_contains_the_mean_and_is_narrower_with_more_pairs() -> None:
    few, many = [0.0, 0.2, -0.1, 0.1], [0.0, 0.2, -0.1, 0.1] * 10
    least, most = interval(few)
    assert least < 1.05 < most
    assert interval(many)[1] - interval(many)[0] < most - least


def test_a_slower_tree_fails_and_noise_passes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert report("publish", [(100.0, 101.0), (103.0, 100.0), (99.0, 100.0)], "base")
    assert not report("publish", [(110.0, 100.0), (111.0, 101.0), (112.0, 100.0)], "base")
    assert "ABOVE 1.03" in capsys.readouterr().out
