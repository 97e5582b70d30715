"""SparseGPT against optimal brain surgery by explicit inverses, in float64."""

import numpy as np
import pytest
import torch
from helpers.tiny import EvenColumns

import atv


def draw(seed, rows=6, columns=16, tokens=64):
    """A weight, correlated inputs (tokens, columns), and what is known of them."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(tokens, columns)) @ (np.eye(columns) + 0.4 * rng.normal(size=(columns, columns)))
    weight = rng.normal(size=(rows, columns))
    gram = inputs.T @ inputs
    norm = torch.tensor(np.sqrt(np.diag(gram)), dtype=torch.float32)
    return weight, inputs, atv.PoolStatistics(norm, torch.tensor(gram / tokens))


def pool_of(inputs):
    gram = torch.tensor(inputs.T @ inputs / len(inputs))
    return atv.PoolStatistics(gram.diagonal().sqrt(), gram)


def surgery(weight, inputs, damping, choose):
    """Column by column, the inverse of what is left computed anew each time; ``choose`` gives a mask of columns."""
    hessian = 2 * inputs.T @ inputs / len(inputs)
    dead = np.diag(hessian) == 0
    hessian[dead, dead] = np.diag(hessian)[~dead].mean()
    hessian += damping * np.diag(hessian).mean() * np.eye(len(hessian))
    weight, kept = weight.copy(), np.ones(weight.shape, dtype=bool)
    roots = [np.linalg.inv(hessian[j:, j:])[0, 0] for j in range(len(hessian))]
    for j in range(len(hessian)):
        inverse = np.linalg.inv(hessian[j:, j:])
        choose(j, np.where(dead, 0, weight**2 / np.array(roots)), kept)
        for i in np.flatnonzero(~kept[:, j]):
            weight[i, j:] -= weight[i, j] / inverse[0, 0] * inverse[0]
    return kept, np.where(kept, weight, 0)


def lowest_of_rows(width, share):
    """Each row loses its lowest scores in every slice of columns."""

    def choose(j, score, kept):
        if j % width == 0:
            for row, mask in zip(score[:, j : j + width], kept[:, j : j + width], strict=True):
                mask[np.argsort(row, kind="stable")[: int(len(row) * share)]] = False

    return choose


def lowest_of_all(width, share):
    def choose(j, score, kept):
        if j % width == 0:
            part = score[:, j : j + width]
            order = np.argsort(part.flatten(), kind="stable")[: int(part.size * share)]
            kept[:, j : j + width] = ~np.isin(np.arange(part.size), order).reshape(part.shape)

    return choose


def prune(weight, pool, pattern, sparsity=0.5, **options):
    made = atv.SparseGPT(**options).prune(torch.tensor(weight), pool, pattern, sparsity)
    return made.mask.numpy(), made.weight.numpy()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("pattern", "choose"),
    [
        (atv.Unstructured(), lowest_of_rows(8, 0.5)),
        (atv.PerLayer(), lowest_of_all(8, 0.5)),
        (atv.NOfM(2, 4), lowest_of_rows(4, 0.5)),
        (atv.NOfM(1, 4), lowest_of_rows(4, 0.75)),
    ],
    ids=["row", "layer", "2:4", "1:4"],
)
def test_is_optimal_brain_surgery_from_left_to_right(seed, pattern, choose):
    weight, inputs, pool = draw(seed)
    expected = surgery(weight, inputs, 0.01, choose)
    sparsity = 0.5 if pattern.sparsity is None else pattern.sparsity
    kept, updated = prune(weight, pool, pattern, sparsity, block=8)
    assert np.array_equal(kept, expected[0])
    assert np.allclose(updated, expected[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("pruned", [1, 5, 15])
def test_leading_columns_are_made_up_for_by_least_squares(pruned):
    """Where all that goes stands on the left, the sweep is exact: the rest solves the normal equations."""
    weight, inputs, pool = draw(0)
    mask = torch.ones(weight.shape, dtype=torch.bool)
    mask[:, :pruned] = False
    made = atv.SparseGPT(damping=1e-12).prune(torch.tensor(weight), pool, atv.Unstructured(), 0.5, mask)
    solved = np.linalg.lstsq(inputs[:, pruned:], inputs @ weight.T, rcond=None)[0].T
    assert np.allclose(made.weight.numpy()[:, pruned:], solved, atol=1e-6)
    assert not made.weight[:, :pruned].any()


def error(inputs, weight, updated):
    return ((inputs @ (weight - updated).T) ** 2).sum()


def test_reconstructs_better_than_wanda_and_never_better_than_least_squares():
    """Inputs whose spectrum falls as activations' do. With few channels, or none correlated, Wanda can win."""
    ratios = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        basis = np.linalg.qr(rng.normal(size=(64, 64)))[0]
        inputs = rng.normal(size=(256, 64)) / np.sqrt(np.arange(1, 65)) @ basis
        weight, gram = rng.normal(size=(6, 64)), inputs.T @ inputs
        pool = atv.PoolStatistics(torch.tensor(np.sqrt(np.diag(gram))), torch.tensor(gram / 256))
        kept, updated = prune(weight, pool, atv.Unstructured())
        dense = torch.tensor(weight)
        wanda = atv.Wanda().prune(dense, pool, atv.Unstructured(), 0.5).applied_to(dense).numpy()
        ratios.append(error(inputs, weight, updated) / error(inputs, weight, wanda))
        best = np.zeros_like(weight)
        for row, mask in enumerate(kept):
            best[row, mask] = np.linalg.lstsq(inputs[:, mask], inputs @ weight[row], rcond=None)[0]
        assert error(inputs, weight, updated) >= error(inputs, weight, best) * (1 - 1e-9)
    assert max(ratios) < 1 and np.mean(ratios) < 0.75


def silenced(inputs):
    """Two channels are never active."""
    inputs = inputs.copy()
    inputs[:, [3, 9]] = 0
    return inputs


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_dead_channels_lose_their_weights_whatever_the_scale_of_the_others(scale):
    weight, inputs, _ = draw(0)
    kept, updated = prune(weight, pool_of(silenced(scale * inputs)), atv.Unstructured(), block=16)
    expected = surgery(weight, silenced(inputs), 0.01, lowest_of_rows(16, 0.5))
    assert np.array_equal(kept, expected[0]) and np.allclose(updated, expected[1])
    assert not updated[:, [3, 9]].any() and not kept[:, [3, 9]].any()


@pytest.mark.parametrize("pattern", [atv.Unstructured(), atv.PerLayer()])
def test_what_is_kept_of_a_dead_channel_stays(pattern):
    weight, inputs, _ = draw(0)
    kept, updated = prune(weight, pool_of(silenced(inputs)), pattern, 0.0)
    assert kept.all() and np.array_equal(updated, weight)


def test_scaling_a_row_permuting_and_duplicating_tokens_move_nothing():
    weight, inputs, pool = draw(1)
    kept, updated = prune(weight, pool, atv.Unstructured())
    scale = np.ones((len(weight), 1))
    scale[2] = 8
    scaled = prune(weight * scale, pool, atv.Unstructured())
    assert np.array_equal(scaled[0], kept) and np.allclose(scaled[1], updated * scale)
    twice = np.random.default_rng(0).permutation(np.concatenate([inputs, inputs]))
    again = atv.PoolStatistics(pool.norm, torch.tensor(twice.T @ twice / len(twice)))
    doubled = prune(weight, again, atv.Unstructured())
    assert np.array_equal(doubled[0], kept) and np.allclose(doubled[1], updated)


@pytest.mark.parametrize("pattern", [atv.Unstructured(), atv.PerLayer()])
@pytest.mark.parametrize("sparsity", [0.0, 0.29, 0.71])
def test_counts_are_exact_whatever_the_blocks(pattern, sparsity):
    weight, _, pool = draw(0, rows=5, columns=100, tokens=300)
    masks = [prune(weight, pool, pattern, sparsity, block=block)[0] for block in (7, 32, 128)]
    for mask in masks:
        assert (~mask).sum() == 5 * round(100 * sparsity)
        if isinstance(pattern, atv.Unstructured):
            assert set((~mask).sum(1)) == {round(100 * sparsity)}


def test_other_patterns_decide_from_the_dense_weights():
    weight, inputs, pool = draw(2)

    def choose(j, score, kept):
        kept[:, 1::2] = False

    expected = surgery(weight, inputs, 0.01, choose)
    kept, updated = prune(weight, pool, EvenColumns())
    assert np.array_equal(kept, expected[0]) and np.allclose(updated, expected[1])


def test_raises_the_damping_and_says_so():
    indefinite = torch.diag(torch.tensor([1.0, 1.0, 1.0, -0.05], dtype=torch.float64))
    pool = atv.PoolStatistics(torch.ones(4), indefinite)
    with pytest.warns(UserWarning, match="X\\^T X is not positive definite, damping raised to 0.1"):
        kept, updated = prune(np.ones((2, 4)), pool, atv.Unstructured())
    assert np.isfinite(updated).all() and (~kept).sum() == 4


def test_values_that_are_not_finite_are_refused():
    pool = atv.PoolStatistics(torch.ones(4), torch.full((4, 4), float("nan"), dtype=torch.float64))
    with (
        pytest.raises(ValueError, match=r"SparseGPT: X\^T X cannot be inverted with any damping"),
        pytest.warns(UserWarning),
    ):
        prune(np.ones((2, 4)), pool, atv.Unstructured())


def test_statistics_without_a_gram_are_refused():
    with pytest.raises(ValueError, match="SparseGPT needs the pool's gram, which was not gathered"):
        atv.SparseGPT().prune(torch.ones(2, 4), atv.PoolStatistics(torch.ones(4)), atv.Unstructured(), 0.5)


def test_half_precision_weights_are_swept_in_float32():
    weight, _, pool = draw(3)
    made = atv.SparseGPT().prune(torch.tensor(weight).bfloat16(), pool, atv.Unstructured(), 0.5)
    assert made.weight.dtype == torch.float32
    assert made.applied_to(torch.tensor(weight).bfloat16()).dtype == torch.bfloat16


def test_the_pruned_model_holds_the_updated_weights(llava, batches, tmp_path):
    import copy

    before = copy.deepcopy(llava.state_dict())
    report = atv.prune(llava, batches, criterion="SparseGPT", run_dir=tmp_path)
    for name, mask in report.masks.items():
        weight = llava.get_submodule(name).weight
        assert not weight[~mask].any() and (weight[mask] != before[f"{name}.weight"][mask]).float().mean() > 0.5
    again = copy.deepcopy(llava)
    again.load_state_dict(before)
    atv.prune(again, batches, criterion="SparseGPT", run_dir=tmp_path)  # from the kept blocks
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in llava.state_dict().items())
