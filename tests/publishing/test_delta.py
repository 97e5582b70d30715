import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atv.publishing.delta import delta, patched

DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int8, torch.bool]


def drawn(dtype, size, seed):
    """Any bits, infinities and NaN among them."""
    generator = torch.Generator().manual_seed(seed)
    if dtype == torch.bool:
        return torch.rand(size, generator=generator) > 0.5
    return torch.randint(0, 256, (size * dtype.itemsize,), dtype=torch.uint8, generator=generator).view(dtype)


@given(st.sampled_from(DTYPES), st.integers(0, 40), st.integers(0, 99))
def test_any_bits_come_back(dtype, size, seed):
    new, old = drawn(dtype, size, seed), drawn(dtype, size, seed + 1)
    again = patched(old, delta(new, old))
    assert again.dtype == dtype and torch.equal(again.view(torch.uint8), new.view(torch.uint8))


def test_values_that_moved_little_take_less_than_their_bytes():
    old = torch.randn(40000, generator=torch.Generator().manual_seed(0)).bfloat16()
    moved = (old.float() * 1.01).bfloat16()
    assert len(delta(moved, old)) < 0.35 * old.nbytes
    assert len(delta(old, old)) < 200


@pytest.mark.parametrize("damaged", [slice(None, -3), slice(3, None)])
def test_a_damaged_delta_is_refused(damaged):
    old, new = torch.arange(90.0), torch.arange(90.0) + 0.5
    with pytest.raises(ValueError, match="its delta is broken"):
        patched(old, delta(new, old)[damaged].clone())
    with pytest.raises(ValueError, match="its delta is of 360 bytes, the tensor has 320"):
        patched(old[:80], delta(new, old))
