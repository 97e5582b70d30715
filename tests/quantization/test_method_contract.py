"""What a method of rounding must give, and by what name it is refused where it does not."""

import pytest
import torch

import atv
from atv.calibration.calibration_set import numbered_batches
from atv.model.lvlm import LVLM
from atv.quantization import AWQ, Nearest, Quantized
from atv.quantization.blockwise import QuantizationPlan, quantize_blocks
from atv.quantization.quantization_run import linears_of
from atv.quantization.whole_numbers import grids
from atv.runtime.trainer import quiet_trainer
from atv.selection import AllTokens

pytest.importorskip("compressed_tensors")


def filled(nearest, weight, mask, *given):
    return nearest(weight + 1, torch.ones_like(mask), *given)


def unscaled(nearest, *given):
    made = nearest(*given)
    return Quantized(made.whole, made.scale * torch.nan)


def halved(nearest, *given):
    """Scales under which the largest weights take twice what the grid has, and nothing is clamped."""
    made = nearest(*given)
    return Quantized(made.whole * 2, made.scale / 2)


def negated(nearest, *given):
    made = nearest(*given)
    return Quantized(-made.whole, -made.scale)


def exact_scales(nearest, *given):
    made = nearest(*given)
    return Quantized(made.whole, made.scale.double())


@pytest.mark.parametrize(
    ("rounded", "message"),
    [
        (filled, "Bad filled zeros of "),
        (halved, r"Bad\.quantize returned integers from -14 to 14 for .*; expected -8 to 7"),
        (negated, r"Bad\.quantize returned scales that are not finite and positive for "),
        (exact_scales, r"Bad\.quantize returned scales in torch\.float64 for .*; expected torch\.float32"),
        (lambda nearest, *given: None, r"Bad\.quantize returned a NoneType for "),
        (unscaled, r"Bad\.quantize returned scales that are not finite and positive for "),
        (
            lambda nearest, weight, *given: nearest(weight.mul_(2), *given),
            r"Bad\.quantize changes its input weight in pl",
        ),
    ],
)
def test_a_method_that_breaks_its_contract_is_named(llava, batches, rounded, message):
    class Bad(Nearest):
        def quantize(self, weight, mask, pool, grid):
            return rounded(super().quantize, weight, mask, pool, grid)

    lvlm = LVLM.of(llava)
    linears = linears_of(lvlm, ["q_proj"])
    masks = {name: torch.rand_like(linear.weight) > 0.5 for name, linear in linears.items()}
    plan = QuantizationPlan(linears, masks, grids(linears, 4, 16), Bad(), AllTokens())
    with pytest.raises(ValueError, match=rf"method: {message}"):
        quantize_blocks(lvlm, plan, numbered_batches(lvlm, batches), quiet_trainer(enable_progress_bar=False))


def test_a_method_is_tried_before_a_sample_is_read(pruned, small_pool, tmp_path):
    class Unclamped(Nearest):
        def quantize(self, weight, mask, pool, grid):
            return halved(super().quantize, weight, mask, pool, grid)

    class Misspelt(AWQ):
        def channel_scale(self, weights, masks, pool, grid):
            return pool.norms

    for method, message in (
        (Unclamped(), r"Unclamped\.quantize returned integers from -14 to 14 for a made-up weight; expected -8 to 7"),
        (Misspelt(), r"Misspelt fails on made-up input: AttributeError: .*norms"),
    ):
        with pytest.raises(ValueError, match=rf"^method: {message}"):
            atv.quantize(pruned, tmp_path / "out", str(small_pool), samples=2, method=method)
    assert not (tmp_path / "out").exists()
