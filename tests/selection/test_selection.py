import numpy as np
import pytest
import torch
from helpers.tiny import MIXED, make_tokens

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


def test_drift_in_the_models_dtype_is_coarser():
    made = make_tokens(MIXED)
    half = Tokens(made.visual, made.position, made.input.bfloat16(), made.output.bfloat16(), 0, 0, 0)
    assert atv.DriftTopK(drift_dtype="model").rank(half).dtype == torch.bfloat16
    assert atv.DriftTopK().rank(half).dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 1.0, "share": 0.5}, "either alpha or share"),
        ({"alpha": -1.0}, "alpha: expected 0 or more"),
        ({"share": float("inf")}, "share: expected"),
        ({"rounding": "up"}, "rounding: expected 'round' or 'floor'"),
        ({"drift_dtype": "float16"}, "drift_dtype: expected"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        atv.DriftTopK(**arguments)


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
