"""DSnoT against the same steps written row by row, and what it is for: the mean of a row's error."""

import numpy as np
import pytest
import torch

import atv


def draw(seed, rows=15, columns=32, tokens=300):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(tokens, columns)) * rng.lognormal(size=columns) + rng.normal(size=columns)
    mean, variance = inputs.mean(0), inputs.var(0)
    norm = torch.tensor(np.sqrt(np.square(inputs).mean(0)))
    pool = atv.PoolStatistics(norm, mean=torch.tensor(mean), variance=torch.tensor(variance))
    return rng.normal(size=(rows, columns)), inputs, pool


def by_hand(w, kept, inputs, width, cycles=50, threshold=0.1):
    """One row."""
    mean, variance, norm = inputs.mean(0), inputs.var(0), np.sqrt(np.square(inputs).mean(0))
    kept, moved = kept.copy(), set()
    error = sum(w[j] * mean[j] for j in np.flatnonzero(~kept))
    begun = np.sign(error)
    for _ in range(cycles):
        if abs(error) * 2048 <= threshold:
            break
        sign = np.sign(error)
        grow = [j for j in np.flatnonzero(~kept) if j not in moved and sign * w[j] * mean[j] > 0]
        if not grow:
            break
        u = max(grow, key=lambda j: sign * w[j] * mean[j] / variance[j])
        lose = [j for j in np.flatnonzero(kept) if j not in moved]
        if width < len(w):
            lose = [j for j in lose if j // width == u // width]
        else:
            lose = [j for j in lose if sign * w[j] * mean[j] < 0]
        if not lose:
            break
        p = min(lose, key=lambda j: abs(w[j]) * norm[j])
        after = error - w[u] * mean[u] + w[p] * mean[p]
        if width < len(w) and np.sign(after) != begun:
            break
        kept[u], kept[p], error = True, False, after
        moved |= {u, p}
    return kept


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("pattern", "width"), [(atv.Unstructured(), 32), (atv.NOfM(2, 4), 4), (atv.NOfM(4, 8), 8)])
@pytest.mark.parametrize("cycles", [1, 3, 50])
def test_is_pruning_and_growing_row_by_row(seed, pattern, width, cycles):
    weight, inputs, pool = draw(seed)
    mask = atv.Wanda().prune(torch.tensor(weight), pool, pattern, 0.5).mask
    found = atv.DSnoT(cycles).refine(torch.tensor(weight), mask, pool, width).numpy()
    pairs = zip(weight, mask.numpy(), strict=True)
    assert np.array_equal(found, np.stack([by_hand(w, kept, inputs, width, cycles) for w, kept in pairs]))
    counts = [kept.reshape(len(weight), -1, width).sum(-1) for kept in (found, mask.numpy())]
    assert np.array_equal(*counts) and (found != mask.numpy()).any()


def test_the_mean_error_of_a_row_falls():
    weight, inputs, pool = draw(0, columns=1024)
    mask = atv.Wanda().prune(torch.tensor(weight), pool, atv.Unstructured(), 0.5).mask
    found = atv.DSnoT(50).refine(torch.tensor(weight), mask, pool, 1024).numpy()
    before, after = (np.abs((np.where(kept, 0, weight) @ inputs.T).mean(1)) for kept in (mask.numpy(), found))
    assert after.mean() < 0.2 * before.mean()


@pytest.mark.parametrize(("columns", "cycles"), [(32, 1), (256, 3), (4096, 50)])
def test_narrow_rows_take_fewer_cycles(columns, cycles):
    weight, _, pool = draw(2, rows=2, columns=columns, tokens=50)
    mask = atv.Wanda().prune(torch.tensor(weight), pool, atv.Unstructured(), 0.5).mask
    found = [atv.DSnoT(given).refine(torch.tensor(weight), mask, pool, columns) for given in (None, cycles)]
    assert torch.equal(*found)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_channels_that_are_always_zero_stop_no_row(power):
    weight, inputs, _ = draw(3, columns=64)
    inputs[:, 0] = 0
    norm, mean, variance = np.sqrt(np.square(inputs).mean(0)), inputs.mean(0), inputs.var(0)
    pool = atv.PoolStatistics(torch.tensor(norm), mean=torch.tensor(mean), variance=torch.tensor(variance))
    mask = atv.Wanda().prune(torch.tensor(weight), pool, atv.Unstructured(), 0.5).mask
    found = atv.DSnoT(5, power=power).refine(torch.tensor(weight), mask, pool, 64)
    assert (found != mask).any() and not found[:, 0].any()


def test_a_wide_threshold_leaves_the_mask_alone():
    weight, _, pool = draw(1)
    mask = atv.Wanda().prune(torch.tensor(weight), pool, atv.Unstructured(), 0.5).mask
    assert torch.equal(atv.DSnoT(threshold=1e9).refine(torch.tensor(weight), mask, pool, 32), mask)


def test_what_is_missing_is_said():
    with pytest.raises(ValueError, match="DSnoT needs the pool's mean"):
        mask = torch.ones(2, 4, dtype=torch.bool)
        atv.DSnoT().refine(torch.ones(2, 4), mask, atv.PoolStatistics(torch.ones(4)), 4)
