"""GPTQ under a mask against the formula with explicit inverses, in float64; and that the ordinary one fills zeros."""

import numpy as np
import pytest
import torch

import atv
from atv.quantization import AWQ, GPTQ, Nearest, RoundingGrid


def draw(seed, rows=6, columns=16, tokens=64, sparsity=0.5):
    """A sparse weight with its mask, correlated inputs (tokens, columns), and what is known of them."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(tokens, columns)) @ (np.eye(columns) + 0.4 * rng.normal(size=(columns, columns)))
    mask = rng.random((rows, columns)) >= sparsity
    weight = rng.normal(size=(rows, columns)) * mask
    gram = inputs.T @ inputs / tokens
    return weight, mask, inputs, atv.PoolStatistics(torch.tensor(np.sqrt(np.diag(gram))), torch.tensor(gram))


def by_hand(weight, mask, inputs, bits, width, damping):
    """The inverse of what is left is computed anew at each column; True in ``mask`` may be anything else than 0."""
    hessian = inputs.T @ inputs / len(inputs)
    hessian += damping * np.diag(hessian).mean() * np.eye(len(hessian))
    weight, whole, highest = weight.copy(), np.zeros(weight.shape), 2 ** (bits - 1) - 1
    for j in range(len(hessian)):
        inverse = np.linalg.inv(hessian[j:, j:])
        if j % width == 0:
            scale = np.abs(weight * mask)[:, j : j + width].max(1) / highest
            scale[scale == 0] = 1
        whole[:, j] = np.clip(np.round(weight[:, j] / scale), -highest - 1, highest) * mask[:, j]
        error = (weight[:, j] - whole[:, j] * scale) / inverse[0, 0]
        weight[:, j:] -= np.outer(error, inverse[0])
    return whole


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("bits", "width", "block"), [(4, 4, 8), (8, 4, 3), (3, 8, 4), (4, 16, 5)])
def test_is_the_formula_column_by_column(seed, bits, width, block):
    weight, mask, inputs, pool = draw(seed)
    made = GPTQ(block=block).quantize(torch.tensor(weight), torch.tensor(mask), pool, RoundingGrid(bits, width))
    assert np.array_equal(made.whole.numpy(), by_hand(weight, mask, inputs, bits, width, 0.01))


@pytest.mark.parametrize("method", [GPTQ(), AWQ(), Nearest()], ids=lambda method: type(method).__name__)
def test_zeros_stay_where_ordinary_gptq_fills_them(method):
    weight, mask, _, pool = draw(0, rows=32, columns=64, tokens=256)
    sparse, all_kept = torch.tensor(weight).bfloat16(), torch.ones(weight.shape, dtype=torch.bool)
    ordinary = GPTQ().quantize(sparse, all_kept, pool, RoundingGrid(4, 32))
    filled = (ordinary.whole[~torch.tensor(mask)] != 0).float().mean()
    assert filled > 0.03
    made = method.quantize(sparse, torch.tensor(mask), pool, RoundingGrid(4, 32))
    assert not made.whole[~torch.tensor(mask)].any() and not made.weight[~torch.tensor(mask)].any()
    assert made.weight.dtype == torch.bfloat16


def error(weight, made, inputs):
    return ((inputs @ (weight - made.weight.double().numpy()).T) ** 2).sum() / ((inputs @ weight.T) ** 2).sum()


def test_what_is_still_to_come_makes_up_for_what_was_rounded():
    """On correlated inputs GPTQ loses less than rounding to nearest, clipped or not."""
    better, clipped = [], []
    for seed in range(8):
        weight, mask, inputs, pool = draw(seed, rows=16, columns=64, tokens=256)
        dense, kept, grid = torch.tensor(weight), torch.tensor(mask), RoundingGrid(3, 32)
        errors = {
            type(method).__name__: error(weight, method.quantize(dense, kept, pool, grid), inputs)
            for method in (GPTQ(), AWQ(), Nearest())
        }
        better.append(errors["GPTQ"] / errors["Nearest"])
        clipped.append(errors["AWQ"] / errors["Nearest"])
    assert np.mean(better) < 0.8 and np.mean(clipped) < 0.99 and max(clipped) < 1.02


def test_channels_that_are_never_active_are_rounded_by_themselves():
    weight, mask, inputs, _ = draw(1, sparsity=0)
    inputs[:, [3, 9]] = 0
    gram = torch.tensor(inputs.T @ inputs / len(inputs))
    pool = atv.PoolStatistics(gram.diagonal().sqrt(), gram)
    made = GPTQ().quantize(torch.tensor(weight), torch.tensor(mask), pool, RoundingGrid(8, 1))
    nearest = Nearest().quantize(torch.tensor(weight), torch.tensor(mask), pool, RoundingGrid(8, 1))
    assert torch.equal(made.whole[:, [3, 9]], nearest.whole[:, [3, 9]]) and made.whole[:, 3].any()


def test_scales_of_channels_lose_no_more_than_none():
    """One channel is far more active than all others: AWQ protects it."""
    weight, mask, inputs, _ = draw(2, rows=32, columns=64, tokens=256, sparsity=0.5)
    inputs[:, 5] *= 30
    gram = torch.tensor(inputs.T @ inputs / len(inputs))
    pool = atv.PoolStatistics(gram.diagonal().sqrt().float(), gram)
    dense, kept, grid = torch.tensor(weight).float(), torch.tensor(mask), RoundingGrid(4, 32)
    scale = AWQ().channel_scale({"x": dense}, {"x": kept}, pool, grid)
    assert scale[5] == scale.max() and scale[5] > 2 and (scale > 0).all()
    scaled = Nearest().quantize(dense * scale, kept, pool, grid).weight / scale
    plain = Nearest().quantize(dense, kept, pool, grid)
    lost = ((inputs @ (weight - scaled.double().numpy()).T) ** 2).sum() / ((inputs @ weight.T) ** 2).sum()
    assert lost < 0.7 * error(weight, plain, inputs)
