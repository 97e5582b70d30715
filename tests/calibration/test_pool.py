"""Pools and norms of integer-valued tensors, where equality is exact."""

import numpy as np
import pytest
import torch

import atv
from atv.calibration.calibration_set import BatchTokens
from atv.calibration.callbacks import ActivationNorms, Drift
from atv.calibration.pool import Pool
from atv.calibration.samples import samples
from atv.calibration.suspension import Arrival
from atv.calibration.target_inputs import TargetInputs
from atv.selection import SetStatistics

COUNT, LENGTH, HIDDEN, INPUTS = 4, 20, 6, 16


def arrival(pad=0, side="left"):
    """A batch at block 2, its rows lengthened by ``pad`` garbage tokens on a side."""
    generator = torch.Generator().manual_seed(0)

    def integers(width):
        return torch.randint(-9, 10, (COUNT, LENGTH, width), generator=generator).float()

    def padded(x, value):
        filler = torch.full((COUNT, pad, *x.shape[2:]), value, dtype=x.dtype)
        return torch.cat([filler, x] if side == "left" else [x, filler], dim=1)

    visual = torch.arange(LENGTH).expand(COUNT, -1) % 3 != torch.arange(COUNT)[:, None] % 3
    before, after, inputs = integers(HIDDEN), integers(HIDDEN), integers(INPUTS)
    read = TargetInputs({"site": padded(inputs, 77.0)}, site_of={"linear": "site"})
    made = Arrival(2, padded(before, 77.0), padded(after, 77.0), read)
    valid = padded(torch.ones(COUNT, LENGTH, dtype=torch.bool), False)
    batch = BatchTokens(torch.zeros_like(valid, dtype=torch.long), padded(visual, True), valid, first_sample=0)
    return list(samples(made, batch, seed=1))


def norm(rule, observed, drift=0.5):
    pool = Pool(rule)
    for sample in observed:
        pool.observe(sample)
    text, visual = (sum(int(getattr(s.tokens, m).sum()) for s in observed) for m in ("text", "visual"))
    found = pool.finish(SetStatistics(drift, len(observed), text, visual))
    return found.statistics["linear"].norm, [found.text, found.visual]


@pytest.mark.parametrize(
    "rule", [atv.AllTokens(), atv.TextOnly(), atv.VisualOnly(), atv.RandomVisual(), atv.DriftTopK()]
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(rule, side):
    plain, counts = norm(rule, arrival())
    padded, padded_counts = norm(rule, arrival(pad=5, side=side))
    assert torch.equal(plain, padded) and counts == padded_counts


def test_norms_are_means_over_samples_of_squares():
    observed = arrival()
    for rule, chosen in ((atv.AllTokens(), slice(None)), (atv.TextOnly(), "text"), (atv.VisualOnly(), "visual")):
        sums = np.zeros(INPUTS)
        for sample in observed:
            rows = sample.inputs["site"].values.double().numpy()
            keep = getattr(sample.tokens, chosen).numpy() if isinstance(chosen, str) else chosen
            sums += (rows[keep] ** 2).sum(0)
        assert np.array_equal(norm(rule, observed)[0].numpy(), np.sqrt(sums / COUNT).astype(np.float32))


def test_all_visual_tokens_by_budget_are_all_tokens_exactly():
    observed = arrival()
    everything, counts = norm(atv.DriftTopK(alpha=1e9, cap=False), observed)
    assert torch.equal(everything, norm(atv.AllTokens(), observed)[0])
    assert sum(counts) == COUNT * LENGTH


def test_no_visual_token_by_budget_is_text_only_exactly():
    observed = arrival()
    assert torch.equal(norm(atv.DriftTopK(alpha=0.0), observed)[0], norm(atv.TextOnly(), observed)[0])


def test_weights_multiply_squared_inputs():
    class Half(atv.TokenSelection):
        def select(self, tokens):
            return 0.25 * tokens.text + 1.0 * tokens.visual

    observed = arrival()
    text, visual = norm(atv.TextOnly(), observed)[0], norm(atv.VisualOnly(), observed)[0]
    assert torch.allclose(norm(Half(), observed)[0] ** 2, 0.25 * text**2 + visual**2)


@pytest.mark.parametrize(("weights", "message"), [(torch.ones(3), "shape"), (torch.full((LENGTH,), -1.0), "negative")])
def test_bad_weights_are_refused(weights, message):
    class Bad(atv.TokenSelection):
        def select(self, tokens):
            return weights

    with pytest.raises(ValueError, match=message):
        norm(Bad(), arrival())


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (lambda tokens: tokens.position[tokens.visual].repeat(2), r"indices, \d+ repeated; expected each token once"),
        (lambda tokens: tokens.position, r"tokens that select had already chosen; expected others"),
        (lambda tokens: tokens.position + 1, rf"indices from 1 to {LENGTH}; expected 0 to {LENGTH - 1}"),
    ],
)
def test_candidates_are_tokens_that_are_still_out_each_once(named, message):
    class Bad(atv.TextOnly):
        def candidates(self, tokens):
            return named(tokens)

    with pytest.raises(ValueError, match=rf"selection: Bad\.candidates returned .*{message}"):
        norm(Bad(), arrival())


def test_callbacks_gather_norms_and_drift_by_modality():
    observed = arrival()
    norms, drift = ActivationNorms(), Drift()
    for sample in reversed(observed):
        norms.observe(sample)
        drift.observe(sample)
    norms.finish(2)
    drift.finish(2)
    for modality in ("text", "visual"):
        rows = np.concatenate(
            [s.inputs["site"].values.double().numpy()[getattr(s.tokens, modality).numpy()] for s in observed]
        )
        assert np.array_equal(np.rint(norms.norms[modality]["site"].numpy() ** 2), (rows**2).sum(0))
    each = []
    for s in observed:
        x, y = (t.double().numpy()[s.tokens.visual.numpy()] for t in (s.tokens.input, s.tokens.output))
        each.append(1 - (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1))
    assert drift.statistics.mean_drift == pytest.approx(np.concatenate(each).mean(), abs=1e-6)
    assert (drift.statistics.samples, drift.statistics.visual_tokens) == (COUNT, len(np.concatenate(each)))


def gram(rule, observed, drift=0.5):
    pool = Pool(rule, gram=True)
    for sample in observed:
        pool.observe(sample)
    text, visual = (sum(int(getattr(s.tokens, m).sum()) for s in observed) for m in ("text", "visual"))
    return pool.finish(SetStatistics(drift, len(observed), text, visual)).statistics["linear"].gram


@pytest.mark.parametrize("rule", [atv.AllTokens(), atv.TextOnly(), atv.DriftTopK(), atv.DriftTopK(share=0.5)])
@pytest.mark.parametrize("pad", [0, 5])
def test_grams_are_means_over_the_tokens_of_the_pool(rule, pad):
    observed, rows = arrival(pad), []
    for sample in observed:
        tokens = sample.tokens
        candidates = rule.candidates(tokens)
        chosen = rule.select(tokens).nonzero().flatten().tolist()
        if len(candidates):
            chosen += candidates[rule.decide(candidates, tokens.n_text, SetStatistics(0.5, 1, 1, 1))].tolist()
        rows.append(sample.inputs["site"].values.double().numpy()[chosen])
    rows = np.concatenate(rows)
    assert np.array_equal(gram(rule, observed).numpy(), rows.T @ rows / len(rows))


def test_weights_scale_grams_as_they_scale_squared_inputs():
    class Soft(atv.TokenSelection):
        def select(self, tokens):
            return 0.25 * tokens.text + 2.0 * (tokens.position == 3)

    observed = arrival()
    both = gram(Soft(), observed)
    squares = norm(Soft(), observed)[0].double() ** 2
    weights = sum(float(Soft().select(s.tokens).sum()) for s in observed)
    assert torch.allclose(both.diagonal() * weights, squares * COUNT, rtol=1e-5)
    assert torch.allclose(both, both.T)


def test_no_gram_is_gathered_unless_asked_for():
    pool = Pool(atv.AllTokens())
    for sample in arrival():
        pool.observe(sample)
    assert pool.finish(SetStatistics(0.5, COUNT, 1, 1)).statistics["linear"].gram is None


def test_variances_of_channels_that_hardly_vary_are_not_rounding():
    values = 30 + 0.003 * torch.randn(COUNT, 500, INPUTS, generator=torch.Generator().manual_seed(0))
    visual, valid = torch.zeros(COUNT, 500, dtype=torch.bool), torch.ones(COUNT, 500, dtype=torch.bool)
    read = TargetInputs({"site": values}, site_of={"linear": "site"})
    batch = BatchTokens(torch.zeros_like(valid, dtype=torch.long), visual, valid, first_sample=0)
    pool = Pool(atv.AllTokens(), moments=True)
    for sample in samples(Arrival(2, values, values, read), batch, seed=1):
        pool.observe(sample)
    found, rows = pool.finish(SetStatistics(0.5, COUNT, 1, 1)).statistics["linear"], values.flatten(0, 1).double()
    assert torch.allclose(found.mean, rows.mean(0), rtol=1e-12)
    assert torch.allclose(found.variance, rows.var(0, correction=0), rtol=1e-6)


def test_a_rule_by_linear_averages_over_tokens_where_it_says_so():
    class OneToken(atv.TokenSelection):
        per_linear = True
        average = "tokens"

        def select(self, tokens):
            assert tokens.linear == "linear" and tokens.linear_output.shape == (LENGTH, 2)
            return tokens.position == 4

    observed = arrival()
    for sample in observed:
        sample.outputs["linear"] = torch.zeros(LENGTH, 2)
    rows = np.stack([s.inputs["site"].values.double().numpy()[4] for s in observed])
    assert np.allclose(norm(OneToken(), observed)[0].numpy(), np.sqrt((rows**2).mean(0)))
