import numpy as np
import pytest
import torch
from helpers.moe import moe_llava
from helpers.pruned_folders import save_pruned

from atv.model.lvlm import targets_by_parameter
from atv.records.masks import load_masks
from atv.verification.compact import load_target, save_compact, sizes
from atv.verification.saved_model import opened


@pytest.mark.filterwarnings("ignore:block .* fewer than")
@pytest.mark.parametrize("make", [None, "qwen3_moe", "gpt_oss"])
def test_sizes_are_those_of_files_and_nothing_is_lost(make, llava, batches, tmp_path):
    model = (llava if make is None else moe_llava(make)).to(torch.bfloat16)
    batches = [batch | {"pixel_values": batch["pixel_values"].bfloat16()} for batch in batches]
    save_pruned(model, batches, tmp_path, sparsity=0.6)
    masks, packed = load_masks(tmp_path / "masks.safetensors"), tmp_path / "packed"
    with opened(tmp_path) as saved:
        size, written = sizes(saved, masks), save_compact(saved, masks, packed)
        for parameter, views in targets_by_parameter(saved.lvlm).items():
            for name, view in views.items():
                assert torch.equal(load_target(packed, parameter, name), view(saved.tensor(parameter)))
    dense = (tmp_path / "model.safetensors").stat().st_size
    assert 0 <= dense - size.dense < 20_000 and 0 <= written - size.compact < 60_000  # headers
    # Counted by hand: 2 bytes a weight that is kept, a bit a weight of a target.
    bits = sum(rows * int(np.ceil(width / 8)) for rows, width in masks.shapes.values())
    assert size.compact == 2 * (model.num_parameters() - masks.pruned) + bits
    assert size.dense == 2 * model.num_parameters() and size.share == size.compact / size.dense < 1
