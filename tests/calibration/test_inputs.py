"""What experts read, with integers, where equality is exact."""

import pytest
import torch

from atv.calibration.fallback import FEWEST_TOKENS, experts_seen, with_fallback
from atv.calibration.samples import ExpertInputs

TOKENS, EXPERTS, WIDTH = 12, 5, 3


@pytest.fixture
def pairs():
    """(token, expert) by expert; expert 2 has none."""
    generator = torch.Generator().manual_seed(0)
    routed = torch.rand(EXPERTS, TOKENS, generator=generator) < 0.4
    routed[2] = False
    expert, token = routed.nonzero(as_tuple=True)
    values = torch.randint(-9, 10, (len(token), WIDTH), generator=generator).float()
    return ExpertInputs(values, token, expert, TOKENS, EXPERTS)


def by_hand(pairs, weights):
    sums = torch.zeros(EXPERTS, WIDTH)
    for value, token, expert in zip(pairs.values, pairs.token, pairs.expert, strict=True):
        sums[expert] += weights[token] * value**2
    return sums


def test_sums_and_counts_are_those_of_the_tokens_routed_to_each(pairs):
    weights = torch.arange(TOKENS) % 3
    sums = pairs.square_sums(torch.stack([weights, torch.zeros(TOKENS)]))
    assert torch.equal(sums[0], by_hand(pairs, weights)) and not sums[1].any()
    expected = [
        sum(1 for t, e in zip(pairs.token, pairs.expert, strict=True) if e == i and weights[t]) for i in range(5)
    ]
    assert pairs.counts(weights).tolist() == expected and expected[2] == 0


def test_some_tokens_are_called_by_their_place(pairs):
    candidates = torch.tensor([7, 1, 10])
    weights = torch.tensor([1.0, 0.0, 2.0])
    spread = torch.zeros(TOKENS).index_copy(0, candidates, weights)
    assert torch.equal(pairs.of(candidates).square_sums(weights[None])[0], by_hand(pairs, spread))
    assert torch.equal(pairs.of(candidates[:0]).square_sums(torch.ones(1, 0))[0], torch.zeros(EXPERTS, WIDTH))


def test_only_starved_experts_take_what_stands_in():
    sums = torch.rand(3, 4, dtype=torch.float64)
    tokens = torch.tensor([FEWEST_TOKENS, FEWEST_TOKENS - 1, 0])
    assert torch.equal(with_fallback(sums, tokens, common=True), torch.stack([sums[0], *[sums.sum(0)] * 2]))
    assert torch.equal(with_fallback(sums, tokens, common=False)[1:], torch.ones(2, 4, dtype=torch.float64))
    assert torch.equal(with_fallback(sums, torch.tensor([1, 1, 1]), common=True), torch.ones_like(sums))
    assert experts_seen(tokens) == {"tokens": tokens.tolist(), "starved": [1, 2]}
