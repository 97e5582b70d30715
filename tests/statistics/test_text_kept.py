"""What is left of a text against the formula, and its spread against resampled windows."""

import numpy as np
import pytest
from scipy.stats import norm

from atv.statistics.estimates import Estimate, mean_over
from atv.statistics.text_kept import text_kept

RNG = np.random.default_rng(7)
TEXTS = np.repeat(["one", "two", "three"], 40)
TOKENS = RNG.integers(100, 511, len(TEXTS))
DENSE = TOKENS * RNG.normal(4, 0.4, len(TEXTS))


def pruned(rate, spread, seeds=1):
    """What the windows cost a model that loses about so many nats a token."""
    return DENSE + TOKENS * RNG.normal(rate, spread, (seeds, len(TEXTS)))


def perplexity(losses, drawn=slice(None)):
    return np.exp(losses[..., drawn].sum(-1) / TOKENS[drawn].sum())


def test_it_is_the_ratio_of_perplexities_by_seed():
    losses = pruned(0.3, 0.1, seeds=3)
    assert text_kept(DENSE, losses, TOKENS, TEXTS).by_seed == pytest.approx(
        100 * perplexity(DENSE) / perplexity(losses)
    )


def test_the_difference_of_two_methods_spreads_as_windows_drawn_anew():
    first, second = pruned(0.3, 0.1), pruned(0.4, 0.2)
    parts = [text_kept(DENSE, losses, TOKENS, TEXTS) for losses in (first, second)]
    ours = Estimate.of(*mean_over([parts[0] - parts[1]]))
    drawn = np.concatenate([RNG.integers(start, start + 40, (4000, 40)) for start in (0, 40, 80)], axis=1)
    dense, one, other = (np.array([perplexity(each, row) for row in drawn]) for each in (DENSE, first[0], second[0]))
    gaps = 100 * dense / one - 100 * dense / other
    assert ours.value == pytest.approx(float(gaps.mean()), abs=0.1)
    assert (ours.high - ours.low) / 2 == pytest.approx(norm.ppf(0.975) * gaps.std(), rel=0.1)
