"""What a model may ask of a decoupled Linear besides calling it."""

import pytest
import torch
from torch import nn

import atv
from atv.pathways import DecoupledLinear


def test_a_decoupled_linear_tells_dtype_and_device_and_no_numbers():
    mask = torch.rand(3, 4) > 0.5
    linear = DecoupledLinear(nn.Linear(4, 3).to(torch.bfloat16), atv.Pruned(mask), atv.Pruned(~mask))
    assert (linear.weight.dtype, linear.weight.device.type) == (torch.bfloat16, "cpu")
    with pytest.raises(RuntimeError):
        nn.functional.linear(torch.ones(2, 4, dtype=torch.bfloat16), linear.weight)
