"""Corrections against their formulas."""

import numpy as np
import pytest

from atv.statistics.paired_scores import corrected

P = [0.01, 0.04, 0.03, 0.005]
ORDER = np.argsort(P)


def test_any_false_one_is_held_by_holms_formula():
    expected, running = np.empty(4), 0.0
    for rank, place in enumerate(ORDER):
        running = max(running, min(1.0, (4 - rank) * P[place]))
        expected[place] = running
    assert corrected(P, "any false one") == pytest.approx(expected.tolist())


def test_a_share_of_false_ones_is_held_by_benjamini_and_hochbergs_formula():
    expected, running = np.empty(4), 1.0
    for rank in (3, 2, 1, 0):
        running = min(running, 4 / (rank + 1) * P[ORDER[rank]])
        expected[ORDER[rank]] = running
    assert corrected(P, "a share of false ones") == pytest.approx(expected.tolist())
    assert corrected([], "a share of false ones") == []
