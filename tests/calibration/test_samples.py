import pytest
import torch

from atv.calibration.calibration_set import BatchTokens
from atv.calibration.samples import ExpertInputs, samples
from atv.calibration.starved_experts import FEWEST_TOKENS, experts_seen, with_fallback
from atv.calibration.sums import SampleSums
from atv.calibration.suspension import Arrival
from atv.calibration.target_inputs import TargetInputs

VALID = torch.tensor([[True, True, True, True], [False, False, True, True]])
VISUAL = torch.tensor([[False, True, True, False], [False, False, True, False]])


def taken_apart(before, after):
    inputs = TargetInputs({"site": before}, site_of={"linear": "site"})
    batch = BatchTokens(torch.zeros_like(VALID, dtype=torch.long), VISUAL, VALID, first_sample=7)
    return list(samples(Arrival(5, before, after, inputs), batch, seed=0))


def test_padding_is_left_behind_and_other_rows_are_read_where_they_lie():
    hidden = torch.arange(2 * 4 * 3).view(2, 4, 3).float()
    whole, padded = taken_apart(hidden, hidden)
    assert torch.equal(whole.tokens.input, hidden[0]) and torch.equal(padded.tokens.input, hidden[1, 2:])
    assert whole.tokens.input.data_ptr() == hidden.data_ptr()
    assert (whole.tokens.sample, padded.tokens.sample) == (7, 8)
    assert padded.tokens.visual.tolist() == [True, False] and padded.tokens.position.tolist() == [0, 1]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_that_are_not_finite_are_named(bad, dtype):
    good = torch.ones(2, 4, 3, dtype=dtype)
    for place, what in ((0, "input"), (1, "output")):
        pair = [good, good.clone()]
        pair[place] = good.clone()
        pair[place][1, 3, 0] = bad
        with pytest.raises(ValueError, match=f"the {what} of block 5, sample 8 contains NaN or infinite"):
            taken_apart(*pair)


def test_padding_may_hold_anything():
    hidden = torch.ones(2, 4, 3)
    hidden[1, 0] = float("nan")
    assert len(taken_apart(hidden, hidden)) == 2


def test_large_values_whose_sum_overflows_are_finite():
    large = torch.full((2, 4, 3), 3e38)
    assert len(taken_apart(large, large)) == 2


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


def test_totals_do_not_depend_on_the_order_of_samples():
    terms = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 50)[:, None]
    forward, backward = SampleSums(), SampleSums()
    for sample in range(50):
        forward.add("site", sample, terms[sample])
        backward.add("site", 49 - sample, terms[49 - sample])
    assert torch.equal(forward.totals()["site"], backward.totals()["site"])
    assert forward.totals()["site"].dtype == torch.float64


def test_keys_are_apart_and_what_a_sample_adds_twice_counts_twice():
    sums = SampleSums()
    for key, value in (("a", 1.0), ("b", 10.0), ("a", 2.0)):
        sums.add(key, 0, torch.tensor([value]))
    assert {key: total.tolist() for key, total in sums.totals().items()} == {"a": [3.0], "b": [10.0]}
