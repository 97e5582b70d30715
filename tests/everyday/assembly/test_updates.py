"""Updates merge into the bits that the formula gives, and into nothing else."""

import copy
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from everyday.assembly import tiny_halves
from hypothesis import given
from hypothesis import strategies as st

from atv.everyday.assembly.trained_updates import (
    Factors,
    Updates,
    base_digests,
    merge,
    merged_weight,
    read_updates,
    write_updates,
)
from atv.records.digests import model_digest

LINEAR = "model.language_model.layers.1.mlp.up_proj"
TOWER_LINEAR = "model.vision_tower.encoder.layer.0.mlp.fc1"
PROJECTOR = "model.multi_modal_projector.linear_2.bias"


def random_factors(out, into, rank, seed=0, spread=0):
    """Factors of about 0.05, times a power of two from a range of ``spread`` each."""
    draw = torch.Generator().manual_seed(seed)

    def one(*shape):
        powers = torch.randint(-spread, spread + 1, shape, generator=draw)
        return (torch.randn(shape, generator=draw) * 0.05 * 2.0**powers).to(torch.bfloat16)

    return Factors(one(rank, into), one(out, rank))


def nearest_float32(value):
    """The float32 next to a fraction, the even one of two as near."""
    near = np.float32(float(value))
    around = (np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf)))
    return min(around, key=lambda one: (abs(Fraction(float(one)) - value), int(one.view(np.uint32)) & 1))


@given(st.integers(0, 10**6), st.integers(1, 24), st.sampled_from([1.0, 0.5, 2.0, 0.75]))
def test_the_sum_is_exact_before_it_is_rounded(seed, rank, scale):
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(seed))
    factors = random_factors(3, 4, rank, seed)
    merged = merged_weight(weight, factors, scale)
    assert merged.dtype == torch.float32
    for row in range(3):
        for column in range(4):
            products = (
                Fraction(float(up)) * Fraction(float(down))
                for up, down in zip(factors.up[row], factors.down[:, column], strict=True)
            )
            exact = Fraction(float(weight[row, column])) + Fraction(scale) * sum(products)
            assert merged[row, column].item() == nearest_float32(exact)


@pytest.mark.parametrize("scale", [2.0, 1 / 3])
def test_the_order_of_sums_is_fixed_where_they_are_not_exact(scale):
    """Factors of very different sizes: float64 rounds, and rounds as a loop over the ranks does."""
    weight, factors = torch.randn(5, 7, generator=torch.Generator().manual_seed(3)), random_factors(5, 7, 16, 1, 40)
    merged = merged_weight(weight, factors, scale)
    for row in range(5):
        for column in range(7):
            change = 0.0
            for rank in range(16):
                change += factors.up[row, rank].item() * factors.down[rank, column].item()
            assert merged[row, column].item() == np.float32(weight[row, column].item() + change * scale)


def test_bits_do_not_depend_on_threads_or_memory():
    weight, factors = torch.randn(600, 400), random_factors(600, 400, 16, 2, 30)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(merged_weight(weight, factors, 2.0))
        strided = Factors(factors.down.T.contiguous().T, factors.up.T.contiguous().T)
        results.append(merged_weight(weight.T.contiguous().T, strided, 2.0))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0].view(torch.int32), other.view(torch.int32)) for other in results[1:])


@pytest.fixture
def untouched(model_and_processor):
    return model_and_processor[0]


@pytest.fixture
def model(untouched):
    return copy.deepcopy(untouched)


@pytest.fixture
def updates(untouched):
    factors = {LINEAR: random_factors(tiny_halves.FFN, 64, 4), TOWER_LINEAR: random_factors(128, 64, 4, 1)}
    whole = {PROJECTOR: torch.arange(64).to(torch.bfloat16)}
    return Updates(factors, whole, 0.5, base_digests(untouched), recipe={"steps": 3})


def test_merging_changes_what_it_names_and_nothing_else(untouched, model, updates):
    merge(model, updates)
    changed = {
        name for name, weight in model.named_parameters() if not torch.equal(weight, untouched.get_parameter(name))
    }
    assert changed == {f"{LINEAR}.weight", f"{TOWER_LINEAR}.weight", PROJECTOR}
    expected = merged_weight(untouched.get_parameter(f"{LINEAR}.weight"), updates.factors[LINEAR], 0.5)
    assert torch.equal(model.get_parameter(f"{LINEAR}.weight"), expected)
    assert torch.equal(model.get_parameter(PROJECTOR), torch.arange(64).float())


def test_a_file_gives_back_what_was_written(tmp_path, model, updates):
    merge(model, updates)
    noted = replace(updates, merged=model_digest(model), scale=1 / 3)
    write_updates(noted, tmp_path / "updates.safetensors")
    read = read_updates(tmp_path / "updates.safetensors")
    assert (read.scale, read.base, read.merged, read.recipe) == (1 / 3, noted.base, noted.merged, {"steps": 3})
    assert read.factors.keys() == noted.factors.keys() and read.replaced.keys() == noted.replaced.keys()
    assert torch.equal(read.factors[LINEAR].up, noted.factors[LINEAR].up)
    assert torch.equal(read.factors[LINEAR].down, noted.factors[LINEAR].down)
    assert read.replaced[PROJECTOR].dtype == torch.bfloat16


def test_the_noted_digest_is_checked(model, updates):
    with pytest.raises(ValueError, match=r"^updates: the merged model has digest \w{12}, expected 0000"):
        merge(model, replace(updates, merged="0" * 64))


@pytest.mark.parametrize(
    ("parameter", "half"),
    [("model.language_model.norm.weight", "language"), ("model.vision_tower.layernorm.bias", "vision")],
)
def test_another_base_is_refused(model, updates, parameter, half):
    with torch.no_grad():
        model.get_parameter(parameter)[0] += 1
    before = model_digest(model)
    with pytest.raises(ValueError, match=f"^updates: trained on a different {half} half"):
        merge(model, updates)
    assert model_digest(model) == before


def test_another_projector_is_no_other_base(model, updates):
    with torch.no_grad():
        model.get_parameter(PROJECTOR).fill_(9)
    merge(model, updates)


FLOAT = Factors(torch.zeros(4, 64), torch.zeros(tiny_halves.FFN, 4))
NARROW = random_factors(tiny_halves.FFN, 63, 4)
BROKEN = Factors(torch.full((4, 64), float("nan"), dtype=torch.bfloat16), NARROW.up)


@pytest.mark.parametrize(
    ("name", "factors", "message"),
    [
        ("model.nothing", NARROW, "the model has no model.nothing.weight"),
        (LINEAR, NARROW, r"up_proj.weight has shape \(96, 63\), but the model's has \(96, 64\)"),
        (LINEAR, BROKEN, "holds values that are not finite"),
        (LINEAR, FLOAT, "factors are torch.float32 and torch.float32, not bfloat16"),
    ],
)
def test_factors_that_do_not_fit(model, updates, name, factors, message):
    with pytest.raises(ValueError, match=f"^updates: .*{message}"):
        merge(model, replace(updates, factors={name: factors}))


def test_files_that_are_none(tmp_path, updates, monkeypatch):
    file = tmp_path / "updates.safetensors"
    with pytest.raises(ValueError, match=r"^updates: no file"):
        read_updates(file)
    file.write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"^updates: .* is damaged or not safetensors"):
        read_updates(file)
    monkeypatch.setattr("atv.everyday.assembly.trained_updates.FORMAT", "2")
    write_updates(updates, file)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"^updates: .* has format 2; this version reads 1"):
        read_updates(file)
