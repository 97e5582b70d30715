"""What digests tell apart, and which of them are named in finished cells."""

import copy

import pytest
import torch

from atv.records.digests import tensors_digest, weights_digest

FLAT = {"input_ids": torch.arange(6).view(2, 3), "pixel_values": torch.ones(2, 3, 2, 2), "labels": None}


def test_batches_of_plain_tensors_are_named_as_ever():
    assert tensors_digest([FLAT]) == "65c37fd3023e0e86"


@pytest.mark.parametrize(
    "other",
    [
        [torch.ones(2), torch.zeros(3)],
        [torch.ones(2), torch.ones(3, dtype=torch.int32)],
        (torch.ones(3), torch.ones(2)),
        {"a": torch.ones(2), "b": torch.ones(3)},
        [[torch.ones(2)], torch.ones(3)],
        [],
    ],
)
def test_tensors_further_down_count(other):
    one = [torch.ones(2), torch.ones(3)]
    digests = [tensors_digest([FLAT | {"pixel_values": nested}]) for nested in (one, copy.deepcopy(one), other)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("shape", [(1024, 1024), (64, 64, 32), (300, 200)])
def test_weights_that_differ_in_one_column_are_others(shape):
    weight = torch.zeros(shape)
    for column in (0, 1, shape[-1] // 2):
        other = weight.clone()
        other[..., column] = 1
        assert weights_digest([("w", other)]) != weights_digest([("w", weight)])


def test_small_weights_are_read_whole():
    weight = torch.zeros(8, 255)
    for place in range(weight.numel()):
        other = weight.clone()
        other.view(-1)[place] = 1
        assert weights_digest([("w", other)]) != weights_digest([("w", weight)])
