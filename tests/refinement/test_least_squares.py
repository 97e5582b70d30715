"""Least squares under a mask against numpy's, on inputs with rows for the damping."""

import itertools

import numpy as np
import pytest
import torch

import atv
from atv.criteria.normal_equations import by_factors, conjugate_gradients, damped


def draw(seed, rows=10, columns=40, tokens=120, spectrum=1.0):
    """A weight and inputs whose spectrum falls as activations' do, some channels a hundred times as large."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(columns, columns)))[0]
    inputs = rng.normal(size=(tokens, columns)) / np.arange(1, columns + 1) ** spectrum @ basis
    inputs[:, :2] *= 100
    return rng.normal(size=(rows, columns)), inputs


def statistics(inputs):
    gram = inputs.T @ inputs / len(inputs)
    return atv.PoolStatistics(torch.tensor(np.sqrt(np.diag(gram))), torch.tensor(gram))


def solved(weight, inputs, kept, damping):
    """Row by row, by lstsq: damping is as many more tokens, each of one channel."""
    ridge = np.sqrt(damping * np.square(inputs).mean() * np.ones(inputs.shape[1]))
    tokens = np.concatenate([inputs / np.sqrt(len(inputs)), np.diag(ridge)])
    found = np.zeros_like(weight)
    for row, mask in enumerate(kept):
        found[row, mask] = np.linalg.lstsq(tokens[:, mask], tokens @ weight[row], rcond=None)[0]
    return found


@pytest.mark.parametrize("iterations", [0, 3, 500], ids=["factors", "some by factors", "conjugate gradients"])
@pytest.mark.parametrize("damping", [1e-3, 0.01, 1.0])
def test_is_least_squares(iterations, damping):
    weight, inputs = draw(0)
    # As PerBlock does: rows keep different numbers of weights, one keeps none and one all.
    kept = np.random.default_rng(1).random(weight.shape) < np.linspace(0.1, 0.9, len(weight))[:, None]
    kept[0], kept[1] = False, True
    rule = atv.LeastSquares(damping, tolerance=1e-9, iterations=iterations)
    found = rule.reconstruct(torch.tensor(weight), torch.tensor(kept), statistics(inputs)).numpy()
    expected = solved(weight, inputs, kept, damping)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())
    assert not found[~kept].any() and np.allclose(found[1], weight[1])


def test_float32_is_as_good_where_it_counts():
    """The error of the row, not its weights: directions that nobody uses are free."""
    weight, inputs = draw(2, rows=64, columns=96, tokens=300, spectrum=1.5)
    pool = statistics(inputs)
    mask = atv.Wanda().prune(torch.tensor(weight), pool, atv.Unstructured(), 0.5).mask
    found = atv.LeastSquares().reconstruct(torch.tensor(weight).float(), mask, pool)
    assert found.dtype == torch.float32
    best = solved(weight, inputs, mask.numpy(), 0.01)
    hessian = damped(pool.gram, 0.01).numpy()

    def error(updated):
        return np.einsum("ri,ij,rj->r", weight - updated, hessian, weight - updated)

    assert (error(found.double().numpy()) <= error(best) * 1.001).all()
    assert error(best).sum() < 0.8 * error(np.where(mask.numpy(), weight, 0)).sum()


def test_every_iteration_lowers_the_error_and_only_rows_that_are_done_say_so():
    weight, inputs = draw(3)
    dense, hessian = torch.tensor(weight), damped(statistics(inputs).gram, 0.01)
    mask = torch.tensor(np.random.default_rng(0).random(weight.shape) < 0.5)
    start, errors = dense * mask, []
    best = by_factors(hessian, dense, mask)
    for iterations in range(0, 60, 3):
        rows, done = conjugate_gradients(hessian, dense, mask, start, iterations, 1e-8)
        errors.append(torch.einsum("ri,ij,rj->r", dense - rows, hessian, dense - rows))
        assert torch.allclose(rows[done], best[done], rtol=1e-5, atol=1e-6) and not rows[~mask].any()
    assert all((later <= earlier * (1 + 1e-12)).all() for earlier, later in itertools.pairwise(errors))
    assert bool(done.all()) and not bool(conjugate_gradients(hessian, dense, mask, start, 2, 1e-8)[1].any())


def test_factors_do_not_depend_on_the_batches():
    weight, inputs = draw(4)
    dense, hessian = torch.tensor(weight), damped(statistics(inputs).gram, 0.01)
    mask = torch.tensor(np.random.default_rng(0).random(weight.shape) < 0.5)
    assert torch.allclose(by_factors(hessian, dense, mask, entries=1), by_factors(hessian, dense, mask))


def test_channels_that_are_never_active_keep_their_weights():
    weight, inputs = draw(5)
    inputs[:, 7] = 0
    mask = torch.tensor(np.arange(weight.shape[1]) % 2 == 1).expand(*weight.shape)
    found = atv.LeastSquares().reconstruct(torch.tensor(weight), mask, statistics(inputs))
    assert np.allclose(found[:, 7].numpy(), weight[:, 7]) and found.isfinite().all()
    silent = atv.PoolStatistics(torch.zeros(40), torch.zeros(40, 40, dtype=torch.float64))
    found = atv.LeastSquares().reconstruct(torch.tensor(weight), mask, silent)
    assert np.allclose(found.numpy(), np.where(mask.numpy(), weight, 0))


def test_half_precision_is_solved_in_float32():
    weight, inputs = draw(6)
    mask = torch.ones(weight.shape, dtype=torch.bool)
    found = atv.LeastSquares().reconstruct(torch.tensor(weight).bfloat16(), mask, statistics(inputs))
    assert found.dtype == torch.float32


def test_bad_arguments():
    for given, message in (({"damping": 0}, "damping"), ({"tolerance": 0}, "tolerance"), ({"iterations": -1}, "iter")):
        with pytest.raises(ValueError, match=f"{message}.*: expected"):
            atv.LeastSquares(**given)
