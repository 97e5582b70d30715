"""AlphaPruning against singular values and sums of numpy."""

import numpy as np
import pytest
import torch
from torch import nn

import atv
from atv.allocation.budget import scaled
from atv.allocation.spectrum import tail_exponent
from atv.calibration.dense_pass import dense_statistics
from atv.model.lvlm import LVLM


def by_hand(weight):
    """x_min by x_min near the peak of the histogram."""
    values = np.sort(np.linalg.svd(weight, compute_uv=False) ** 2)
    counts, edges = np.histogram(np.log10(values), 100)
    peak, fits = 10 ** edges[counts.argmax()], []
    for start, least in enumerate(values[:-1]):
        if 0.95 * peak <= least <= 1.5 * peak:
            tail = values[start:]
            alpha = 1 + len(tail) / np.log(tail / least).sum()
            model = 1 - (tail / least) ** (1 - alpha)
            fits.append((np.abs(model - np.arange(len(tail)) / len(tail)).max(), alpha))
    return min(fits)[1]


def with_spectrum(values, seed=0):
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(len(values), len(values))))[0] for _ in range(2))
    return torch.tensor(left * np.sqrt(values) @ right)


@pytest.mark.parametrize("shape", [(60, 60), (40, 90), (90, 40)])
def test_the_exponent_is_hills(shape):
    weight = np.random.default_rng(0).normal(size=shape)
    assert tail_exponent(torch.tensor(weight)) == pytest.approx(by_hand(weight), rel=1e-6)


def test_a_spectrum_drawn_from_a_power_law_gives_its_exponent_back():
    rng = np.random.default_rng(1)
    found = [tail_exponent(with_spectrum(1 + rng.pareto(exponent - 1, 400))) for exponent in (2.0, 3.0, 5.0)]
    assert found == pytest.approx([2.0, 3.0, 5.0], rel=0.2)


def test_a_weight_of_zeros_is_refused_by_name():
    with pytest.raises(ValueError, match="AlphaPruning cannot fit the spectrum of q_proj"):
        tail_exponent(torch.zeros(4, 4), "q_proj")


def test_heavier_tails_keep_more_and_the_target_is_met(llava):
    lvlm = LVLM.of(llava)
    linears = lvlm.targets(None)
    dense = dense_statistics(lvlm, linears)
    for sparsity, spread in ((0.5, 0.2), (0.7, 0.3), (0.9, 0.3)):
        shares = atv.AlphaPruning(spread).allocate(linears, sparsity, dense)
        exponents = {name: by_hand(target.weight.detach().double().numpy()) for name, target in linears.items()}
        inside = {block: [name for name in linears if dense.block_of[name] == block] for block in range(3)}
        alphas = {block: np.mean([exponents[name] for name in names]) for block, names in inside.items()}
        size = {name: target.weight.numel() for name, target in linears.items()}
        assert np.average(list(shares.values()), weights=list(size.values())) == pytest.approx(sparsity, abs=1e-9)
        by_block = {block: {shares[name] for name in names} for block, names in inside.items()}
        assert all(len(values) == 1 for values in by_block.values()) and max(shares.values()) <= 1
        order = sorted(range(3), key=alphas.get)
        values = [by_block[block].copy().pop() for block in order]
        assert values == sorted(values)
        if sparsity < 0.7:
            low, high = min(alphas.values()), max(alphas.values())
            wanted = [1 - spread + 2 * spread * (alphas[block] - low) / (high - low) for block in order]
            np.testing.assert_allclose(np.array(values) / values[0], np.array(wanted) / wanted[0], rtol=1e-5)


def test_what_is_cut_off_others_make_up_for():
    shares = scaled({"a": 0.5, "b": 1.0, "c": 2.0}, {"a": 1, "b": 1, "c": 2}, 0.8)
    assert shares["c"] == 1 and shares["b"] == pytest.approx(2 * shares["a"])
    assert (shares["a"] + shares["b"] + 2 * shares["c"]) / 4 == pytest.approx(0.8, abs=1e-9)


@pytest.mark.filterwarnings("ignore:block .* fewer than")
def test_experts_have_spectra_too_and_a_run_uses_them(batches):
    from helpers.moe import moe_llava

    report = atv.prune(moe_llava("qwen3_moe"), batches, allocation="AlphaPruning")
    assert report.sparsity == pytest.approx(0.5, abs=0.03)
    assert len(set(report.allocation.sparsities["both"].values())) > 1


def test_offloaded_experts_are_refused():
    class Away:
        weight = nn.Parameter(torch.zeros(2, 2, device="meta"))
        in_features = 2

    statistics = atv.DenseStatistics({"experts.0.up": 0}, lambda name: pytest.fail(name))
    with pytest.raises(ValueError, match=r"AlphaPruning reads weights, but experts\.0\.up is offloaded"):
        atv.AlphaPruning().allocate({"experts.0.up": Away()}, 0.5, statistics)
