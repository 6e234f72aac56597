"""The arithmetic of the evaluation: intervals, calibration, targets."""

from __future__ import annotations

import pytest

from interleave_rt.worlds.shapes.evaluation.calibration import (
    balanced_accuracy,
    best_threshold,
    calibration_error,
    reliability,
)
from interleave_rt.worlds.shapes.evaluation.figures import Row, Target
from interleave_rt.worlds.shapes.evaluation.intervals import Share, difference, share, wilson
from interleave_rt.worlds.shapes.evaluation.plot import reliability_svg


def test_wilson_agrees_with_known_intervals() -> None:
    # Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    for hits, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(hits, n) == pytest.approx((low, high), abs=1e-4)
    assert wilson(20, 20)[1] == 1.0
    assert wilson(0, 0) is None


def test_a_share_is_plain_data() -> None:
    assert share([True, False, True, True]).as_dict() == {"n": 4, "share": 0.75, "interval": [0.3006, 0.9544]}
    assert share([]).as_dict() == {"n": 0, "share": None, "interval": None}


def test_the_interval_of_a_difference_is_newcombes() -> None:
    # Newcombe (1998), "Interval estimation for the difference between independent proportions", method 10: 56/70, 48/80
    found = difference(Share(56, 70), Share(48, 80))
    assert found is not None
    assert found[0] == pytest.approx(0.2)
    assert found[1] == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert difference(Share(1, 2), Share(0, 0)) is None


def test_calibration_error_is_the_weighted_distance() -> None:
    judged = [(0.9, True)] * 8 + [(0.9, False)] * 2 + [(0.1, True)] * 4 + [(0.1, False)] * 6 + [(1.0, True)]
    bins = reliability(judged)
    assert len(bins) == 15
    assert sum(one.right.n for one in bins) == 21
    assert bins[-1].right.n == 1  # p = 1 belongs to the last bin
    assert calibration_error(bins) == pytest.approx((10 * 0.1 + 10 * 0.3) / 21)
    assert calibration_error(reliability([])) is None


def test_the_best_threshold_maximises_balanced_accuracy() -> None:
    judged = [(0.2, False), (0.3, False), (0.6, True), (0.7, False), (0.8, True), (0.9, True)]
    threshold, score = best_threshold(judged)
    assert score == pytest.approx((1 + 2 / 3) / 2)
    assert threshold == pytest.approx(0.45)
    assert balanced_accuracy(judged, threshold) == pytest.approx(score)
    assert max(balanced_accuracy(judged, cut / 100) for cut in range(101)) == pytest.approx(score)
    assert best_threshold([(0.2, True), (0.3, True)]) is None
    assert best_threshold([]) is None


def test_targets_hold_their_bounds_and_nothing_measured_is_missed() -> None:
    both = Target(0.45, 0.8)
    assert [both.met(value) for value in (0.44, 0.45, 0.8, 0.81, None)] == [False, True, True, False, False]
    row = Row("calls")
    row.share("a", "a", [True], both)
    row.share("b", "b", [], both)
    row.share("c", "c", [True])
    assert row.missed == ["calls.a", "calls.b"]
    assert row.as_dict()["figures"]["a"]["target"] == {"at_least": 0.45, "at_most": 0.8}
    assert row.figures["a"].cells() == ("1", "100.0 %", "20.7 % to 100.0 %", "45.0 % to 80.0 %", "NO")
    assert row.figures["c"].as_dict()["met"] is None


def test_the_plot_has_a_dot_for_each_bin_with_pictures() -> None:
    bins = [one.as_dict() for one in reliability([(0.03, False), (0.5, True), (0.99, True)])]
    svg = reliability_svg(bins)
    assert svg.count('class="dot"') == 3
    assert "nan" not in svg
