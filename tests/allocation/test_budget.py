"""Shares of Linears that meet a target, whatever is wanted of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atv.allocation.budget import mean, proportional, shifted

NAMES = ["a", "b", "c", "d"]
SIZES = st.lists(st.integers(1, 10_000), min_size=4, max_size=4).map(lambda sizes: dict(zip(NAMES, sizes, strict=True)))
NUMBERS = st.lists(st.floats(0, 100), min_size=4, max_size=4).map(lambda ns: dict(zip(NAMES, ns, strict=True)))


@given(NUMBERS, SIZES, st.floats(0, 1), st.floats(0, 1))
def test_shifted_shares_meet_the_target_within_bounds(wanted, size, target, slack):
    low, high = max(0, target - slack), min(1, target + slack)
    shares = shifted(wanted, size, target, low, high)
    assert mean(shares, size) == pytest.approx(target, abs=1e-9)
    assert all(low <= share <= high for share in shares.values())
    for one in NAMES:
        for other in NAMES:
            if wanted[one] <= wanted[other]:
                assert shares[one] <= shares[other]


def test_shares_that_meet_the_target_stay_as_they_are():
    assert shifted({"a": 0.25, "b": 0.75}, {"a": 5, "b": 5}, 0.5, 0, 1) == {"a": 0.25, "b": 0.75}


@given(NUMBERS, SIZES, st.floats(0, 1), st.floats(0, 1))
def test_proportional_shares_meet_the_target_within_bounds(importance, size, target, part):
    floor = target * part
    shares = proportional(importance, size, target, floor)
    assert mean(shares, size) == pytest.approx(target, abs=1e-9)
    assert all(floor - 1e-12 <= share <= 1 + 1e-12 for share in shares.values())


def test_what_is_left_goes_by_importance_and_full_ones_pass_theirs_on():
    """Of 400 weights 200 are kept, 25 of each Linear at once; then a is full, and b and c share as 2 : 1."""
    shares = proportional({"a": 97, "b": 2, "c": 1, "d": 0}, dict.fromkeys(NAMES, 100), 0.5, 0.25)
    assert np.allclose([shares[name] for name in NAMES], [1.0, 0.25 + 0.5 / 3, 0.25 + 0.25 / 3, 0.25])


def test_importance_of_any_scale_is_shared_by():
    shares = proportional({"a": 1.0, "b": 1.0, "c": 5e-324}, dict.fromkeys("abc", 1), 0.9, 0.0)
    assert shares == pytest.approx({"a": 1.0, "b": 1.0, "c": 0.7})


def test_without_importance_sizes_decide():
    shares = proportional(dict.fromkeys(NAMES, 0.0), {"a": 1, "b": 2, "c": 3, "d": 4}, 0.5, 0.1)
    assert np.allclose(list(shares.values()), 0.5)
