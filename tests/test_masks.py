import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

import atv
from atv.masks import PackedMasks, save_masks


@given(rows=st.integers(1, 5), width=st.integers(1, 20), seed=st.integers(0, 99))
def test_masks_survive_packing(tmp_path_factory, rows, width, seed):
    mask = torch.rand(rows, width, generator=torch.Generator().manual_seed(seed)) < 0.5
    path = tmp_path_factory.mktemp("masks") / "masks.safetensors"
    save_masks(path, {"a.b": mask})
    assert torch.equal(atv.load_masks(path)["a.b"], mask)


def test_the_format_is_as_documented(tmp_path):
    save_masks(tmp_path / "m", {"x": torch.tensor([[1, 0, 0, 0, 0, 0, 0, 0, 1, 1]]).bool()})
    with safe_open(tmp_path / "m", "pt") as file:
        assert file.metadata()["format"] == "atv-masks/1" and json.loads(file.metadata()["shapes"]) == {"x": [1, 10]}
        assert file.get_tensor("x").tolist() == [[1, 3]]


def test_other_formats_are_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "m")
    with pytest.raises(ValueError, match="expected format atv-masks/1, got None"):
        atv.load_masks(tmp_path / "m")


def test_packed_masks_are_a_mapping_that_counts():
    masks = {"a": torch.tensor([[True, False, True]]), "b": torch.ones(2, 9, dtype=torch.bool)}
    packed = PackedMasks(masks)
    assert list(packed) == ["a", "b"] and all(torch.equal(packed[name], masks[name]) for name in masks)
    assert packed.pruned == 1 and packed.sparsity == 1 / 21
    packed.update(PackedMasks({"a": torch.zeros(1, 3, dtype=torch.bool)}))
    assert packed.pruned == 3 and len(packed) == 2
