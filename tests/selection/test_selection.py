import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers.tiny import MIXED, make_tokens
from hypothesis import given
from hypothesis import strategies as st

import atv
from atv.selection import SetStatistics, Tokens


def test_drift_is_one_minus_cosine():
    made = make_tokens(MIXED)
    for i in range(len(MIXED)):
        x, y = made.input[i].numpy().astype(float), made.output[i].numpy().astype(float)
        assert made.drift[i].item() == pytest.approx(1 - x @ y / np.sqrt(x @ x) / np.sqrt(y @ y), abs=1e-6)


def test_pools():
    made = make_tokens(MIXED)
    assert atv.AllTokens().select(made).all()
    assert atv.TextOnly().select(made).tolist() == [not v for v in MIXED]
    assert atv.VisualOnly().select(made).tolist() == [bool(v) for v in MIXED]


@pytest.mark.parametrize(
    ("rule", "n_text", "drift", "expected"),
    [
        (atv.DriftTopK(), 10, 0.26, 3),
        (atv.DriftTopK(rounding="floor"), 10, 0.29, 2),
        (atv.DriftTopK(), 10, 0.25, 2),  # Python rounds halves to even, as the authors' code does
        (atv.DriftTopK(alpha=8.0), 10, 0.5, 10),
        (atv.DriftTopK(alpha=8.0, cap=False), 10, 0.5, 40),
        (atv.DriftTopK(alpha=0.0), 10, 0.5, 0),
        (atv.DriftTopK(share=0.3), 10, 0.9, 3),
        (atv.RandomVisual(share=1.7), 10, 0.0, 17),
        # Exact in decimal: 0.29 * 100 is below 29 in binary.
        (atv.RandomVisual(share=0.29, rounding="floor"), 100, 0.0, 29),
        (atv.DriftTopK(alpha=0.29, rounding="floor"), 100, 1.0, 29),
    ],
)
def test_budget(rule, n_text, drift, expected):
    assert rule.budget(n_text, drift) == expected


def test_the_most_drifted_enter_and_ties_go_by_position():
    made = make_tokens(MIXED)
    rule = atv.DriftTopK()
    order = sorted((i for i, v in enumerate(MIXED) if v), key=lambda i: (-made.drift[i].item(), i))
    assert rule.candidates(made).tolist() == order[:4]  # never more than the four text tokens
    entered = rule.decide(rule.candidates(made), 4, SetStatistics(0.5, 1, 4, 6))
    assert entered.tolist() == [True, True, False, False]
    row = made.input[:1].expand_as(made.input)
    still = Tokens(made.visual, made.position, row, row, 0, 0, 0)
    assert rule.candidates(still).tolist() == [1, 2, 3, 4]


def test_random_draws_depend_on_seed_block_and_sample_alone():
    rule = atv.RandomVisual(share=1.0)
    same = [rule.candidates(make_tokens(MIXED, seed=s, sample=3, block=1)).tolist() for s in (0, 1)]
    assert same[0] == same[1]
    others = [rule.candidates(make_tokens(MIXED, sample=s, block=b)).tolist() for s in range(4) for b in range(4)]
    assert len({tuple(order) for order in others}) > 8


@pytest.mark.parametrize("draw", [atv.RandomVisual(share=1.0).candidates, atv.TextFraction(0.5).select])
def test_other_seeds_of_the_run_draw_other_tokens(draw):
    made = make_tokens(MIXED)
    assert len({tuple(draw(replace(made, seed=seed)).tolist()) for seed in range(20)}) > 3


def test_drift_in_the_models_dtype_is_coarser():
    made = make_tokens(MIXED)
    half = Tokens(made.visual, made.position, made.input.bfloat16(), made.output.bfloat16(), 0, 0, 0)
    assert atv.DriftTopK(drift_dtype="model").rank(half).dtype == torch.bfloat16
    assert atv.DriftTopK().rank(half).dtype == torch.float32


@pytest.mark.parametrize(
    ("wide", "narrow"), [("AllTokens", atv.DriftTopK(alpha=1e9, cap=False)), ("TextOnly", atv.DriftTopK(alpha=0.0))]
)
def test_the_ends_of_the_budget_are_the_pools(llava, batches, wide, narrow):
    import copy

    expected = atv.prune(copy.deepcopy(llava), batches, selection=wide)
    report = atv.prune(llava, batches, selection=narrow)
    assert [b.selected for b in report.blocks] == [b.selected for b in expected.blocks]
    differing = sum(int((report.masks[n] != expected.masks[n]).sum()) for n in report.masks)
    assert differing <= 0.001 * sum(m.numel() for m in report.masks.values())


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
