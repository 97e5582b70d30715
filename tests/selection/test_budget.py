"""Properties that every budget of a ranking rule has, whatever its numbers."""

import math
from fractions import Fraction

import torch
from hypothesis import given
from hypothesis import strategies as st

import atv
from atv.selection import SetStatistics, Tokens

# 64ths, so that products are exact and halves are really halves.
FRACTIONS = st.integers(0, 256).map(lambda count: count / 64)
DRIFTS = st.integers(0, 128).map(lambda count: count / 64)
ROUNDINGS = st.sampled_from(["round", "floor"])
COUNTS = st.integers(0, 12)


def whole(value, rounding):
    """The oracle of rounding, in exact arithmetic; halves go to the even number."""
    return round(value) if rounding == "round" else math.floor(value)


def sample(n_text, n_visual, drift_order):
    """Visual tokens first; the one at place p turns by an angle that grows with ``drift_order[p]``."""
    n = n_text + n_visual
    angle = torch.zeros(n)
    angle[:n_visual] = torch.tensor(drift_order, dtype=torch.float32) / 10
    before = torch.tensor([[1.0, 0.0]]).expand(n, 2)
    after = torch.stack([angle.cos(), angle.sin()], dim=1)
    return Tokens(torch.arange(n) < n_visual, torch.arange(n), before, after, sample=0, block=0, seed=0)


@given(FRACTIONS, DRIFTS, COUNTS, st.booleans(), ROUNDINGS)
def test_an_adaptive_budget_is_the_formula(alpha, drift, n_text, cap, rounding):
    fraction = Fraction(alpha) * Fraction(drift)
    expected = whole((min(Fraction(1), fraction) if cap else fraction) * n_text, rounding)
    budget = atv.DriftTopK(alpha=alpha, cap=cap, rounding=rounding).budget(n_text, drift)
    assert budget == expected
    assert not cap or budget <= n_text


@given(FRACTIONS, DRIFTS, COUNTS, ROUNDINGS)
def test_a_share_is_the_same_in_every_block(share, drift, n_text, rounding):
    rule = atv.DriftTopK(share=share, rounding=rounding)
    assert rule.budget(n_text, drift) == rule.budget(n_text, 0.0) == whole(Fraction(share) * n_text, rounding)


@given(FRACTIONS, st.tuples(DRIFTS, DRIFTS), COUNTS, st.booleans(), ROUNDINGS)
def test_more_drift_never_means_a_smaller_budget(alpha, drifts, n_text, cap, rounding):
    rule = atv.DriftTopK(alpha=alpha, cap=cap, rounding=rounding)
    low, high = (rule.budget(n_text, drift) for drift in sorted(drifts))
    assert low <= high


@given(st.data(), COUNTS, FRACTIONS, DRIFTS, st.sampled_from(["capped", "uncapped", "share"]), ROUNDINGS)
def test_exactly_the_first_of_the_ranking_enter(data, n_text, fraction, drift, kind, rounding):
    """However few candidates were kept, the budget is filled as if all visual tokens had been."""
    order = data.draw(st.lists(st.integers(0, 5), max_size=12), label="drift order")
    budgets = {
        "share": {"share": fraction},
        "capped": {"alpha": fraction},
        "uncapped": {"alpha": fraction, "cap": False},
    }
    rule = atv.DriftTopK(**budgets[kind], rounding=rounding)
    tokens = sample(n_text, len(order), order)
    candidates = rule.candidates(tokens)
    entered = candidates[rule.decide(candidates, n_text, SetStatistics(drift, 1, n_text, len(order)))]
    ranking = sorted(range(len(order)), key=lambda place: (-order[place], place))
    assert entered.tolist() == ranking[: rule.budget(n_text, drift)]
