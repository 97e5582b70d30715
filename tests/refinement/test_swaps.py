"""Swaps against brute force over rows of 8, in float64."""

import itertools

import numpy as np
import pytest
import torch

import atv


def draw(seed, rows=12, columns=8, tokens=40):
    """A weight, the Gram of correlated inputs, and what is known of them."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(tokens, columns)) @ (np.eye(columns) + 0.5 * rng.normal(size=(columns, columns)))
    weight, gram = rng.normal(size=(rows, columns)), inputs.T @ inputs / tokens
    return weight, gram, atv.PoolStatistics(torch.tensor(np.sqrt(np.diag(gram))), torch.tensor(gram))


def error(weight, kept, gram):
    lost = np.where(kept, 0, weight)
    return np.einsum("ri,ij,rj->r", lost, gram, lost)


def wanda(weight, pool, pattern, sparsity=0.5):
    return atv.Wanda().prune(torch.tensor(weight), pool, pattern, sparsity).mask


def refined(weight, mask, pool, width, **options):
    return atv.SparseSwaps(**options).refine(torch.tensor(weight), mask, pool, width).numpy()


def best_swap(weight, kept, gram, width):
    """The lowest error that one swap of a row reaches, tried one by one, and the mask."""
    best, found = error(weight[None], kept[None], gram)[0], kept
    for u, p in itertools.product(np.flatnonzero(~kept), np.flatnonzero(kept)):
        if u // width == p // width:
            tried = kept.copy()
            tried[u], tried[p] = True, False
            if (value := error(weight[None], tried[None], gram)[0]) < best - 1e-9:
                best, found = value, tried
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("pattern", "width"), [(atv.Unstructured(), 8), (atv.NOfM(2, 4), 4), (atv.NOfM(1, 4), 4)])
def test_each_swap_is_the_best_of_all(seed, pattern, width):
    weight, gram, pool = draw(seed)
    mask = wanda(weight, pool, pattern)
    expected = mask.numpy().copy()
    for count in range(1, 5):
        expected = np.stack([best_swap(w, k, gram, width) for w, k in zip(weight, expected, strict=True)])
        assert np.array_equal(refined(weight, mask, pool, width, swaps=count), expected)


def test_ends_where_no_swap_helps_and_near_the_best_mask_of_all():
    """Every mask of a row with four of eight weights: 70 of them."""
    ratios = []
    for seed in range(6):
        weight, gram, pool = draw(seed)
        mask = wanda(weight, pool, atv.Unstructured())
        found = refined(weight, mask, pool, 8)
        assert all(np.array_equal(best_swap(w, k, gram, 8), k) for w, k in zip(weight, found, strict=True))
        masks = np.array([[c in kept for c in range(8)] for kept in itertools.combinations(range(8), 4)])
        least = np.array([error(np.tile(w, (70, 1)), masks, gram).min() for w in weight])
        ratios.append((error(weight, found, gram) / least, error(weight, mask.numpy(), gram) / least))
    swapped, before = np.concatenate(ratios, axis=1)
    assert swapped.min() > 1 - 1e-9 and swapped.mean() < 1.1 < 1.3 < before.mean()
    assert (swapped < 1 + 1e-9).mean() > 0.5


@pytest.mark.parametrize(
    ("pattern", "width", "sparsity"),
    [(atv.Unstructured(), 48, 0.3), (atv.PerLayer(), 48, 0.6), (atv.NOfM(2, 4), 4, 0.5), (atv.NOfM(3, 8), 8, 0.625)],
)
@pytest.mark.parametrize("candidates", [1, 3, 48])
def test_the_error_of_no_row_rises_and_counts_stay(pattern, width, sparsity, candidates):
    weight, gram, pool = draw(7, rows=20, columns=48, tokens=200)
    mask = wanda(weight, pool, pattern, sparsity)
    before, previous = error(weight, mask.numpy(), gram), mask.numpy()
    for swaps in (1, 2, 4, 50):
        found = refined(weight, mask, pool, width, swaps=swaps, candidates=candidates)
        counts = [m.reshape(20, -1, width).sum(-1) for m in (found, mask.numpy())]
        assert np.array_equal(*counts) and (found != mask.numpy()).sum(1).max() <= 2 * swaps
        after = error(weight, found, gram)
        assert (after <= error(weight, previous, gram) * (1 + 1e-12)).all()
        previous = found
    assert after.sum() < 0.9 * before.sum()


def test_rows_do_not_depend_on_their_neighbours(monkeypatch):
    weight, _, pool = draw(3, rows=30, columns=16)
    mask = wanda(weight, pool, atv.Unstructured())
    together = refined(weight, mask, pool, 16)
    monkeypatch.setattr("atv.refinement.swaps._ENTRIES", {"cpu": 300, "cuda": 300})
    assert np.array_equal(refined(weight, mask, pool, 16), together)


@pytest.mark.parametrize("kept", [True, False])
def test_rows_with_nothing_to_swap_are_left_alone(kept):
    weight, _, pool = draw(0)
    mask = torch.full(weight.shape, kept)
    for width in (8, 4):
        assert np.array_equal(refined(weight, mask, pool, width), mask.numpy())


def test_what_is_missing_is_said():
    with pytest.raises(ValueError, match="SparseSwaps needs the pool's gram"):
        mask = torch.ones(2, 4, dtype=torch.bool)
        atv.SparseSwaps().refine(torch.ones(2, 4), mask, atv.PoolStatistics(torch.ones(4)), 4)
