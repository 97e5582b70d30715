"""What a quantized folder promises, and what damages it."""

import json
import shutil

import pytest
import torch
from helpers.pruned_folders import edit, quantize_by_command

import atv

pytest.importorskip("compressed_tensors")
STORED = "language_model.model.layers.1.mlp.up_proj"


def test_blocks_on_disk_are_rounded_to_the_same(pruned, quantized, small_pool, tmp_path):
    folder = quantize_by_command(pruned, tmp_path / "int4", small_pool, "--offload", "disk")
    ours, theirs = (atv.load(one, quantized=True)[0].state_dict() for one in (folder, quantized))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    records = [json.loads((one / "quantization.json").read_text()) for one in (folder, quantized)]
    assert records[0]["errors"] == records[1]["errors"] and records[0]["bytes"] == records[1]["bytes"]
    assert "42 Linears in 4 bits" in atv.verify(folder, "bundled", max_new_tokens=0)["quantization"]
    left = {file.name for file in folder.iterdir() if file.suffix == ".safetensors" or file.is_dir()}
    shards = {f"model-block-{block:05d}-smaller.safetensors" for block in range(6)}
    assert left == shards | {"model-rest.safetensors", "masks.safetensors"}


def fill(tensors):
    """Makes ones of all weights that are zero, most of which the mask prunes."""
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32, unpack_from_int32

    shape = torch.Size(tensors[f"{STORED}.weight_shape"].tolist())
    whole = unpack_from_int32(tensors[f"{STORED}.weight_packed"], 4, shape).clone()
    whole[whole == 0] = 1
    tensors[f"{STORED}.weight_packed"] = pack_to_int32(whole, 4)


def test_what_quantization_promises_is_verified(pruned, quantized, tmp_path):
    """Against the dense model, and against the folder that was quantized; also where nothing was pruned."""
    for base in ("bundled", pruned):
        found = atv.verify(quantized, base, max_new_tokens=0)
        assert found["quantization"] == "42 Linears in 4 bits, one scale per 64 weights of a row"
        rounded = "except for 42 tensors that rounding changes"
        assert found["base"] == f"all tensors equal the base model's bit for bit, {rounded}"
    assert "50.00% of their weights pruned" in found["masks"] and found["zeros"] == "where the masks say"
    dense = shutil.copytree(quantized, tmp_path / "dense")
    for name in ("report.json", "masks.safetensors"):
        (dense / name).unlink()
    assert atv.verify(dense, max_new_tokens=2).keys() == {"quantization", "base", "generation", "size"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (fill, r"layers\.1\.mlp\.up_proj: entry \(\d+, \d+\) is .*, but the mask prunes it"),
        (lambda tensors: tensors[f"{STORED}.weight_scale"][3, 1].mul_(-1), f"{STORED}.weight_scale holds a scale that"),
        (lambda tensors: tensors[f"{STORED}.weight_scale"][3, 1].fill_(torch.inf), "is not a finite number above 0"),
        (
            lambda tensors: tensors.update(
                {f"{STORED}.weight_scale": tensors[f"{STORED}.weight_scale"][:, :1].clone()}
            ),
            r"weight_scale has shape \[\d+, 1\]",
        ),
        (lambda tensors: tensors.pop(f"{STORED}.weight_scale"), f"{STORED}.weight_scale is not in any file"),
        (
            lambda tensors: tensors["language_model.model.norm.weight"][3].add_(1e-6),
            "norm.weight differs from the base",
        ),
    ],
    ids=["a zero filled", "a scale below zero", "an infinite scale", "scales too few", "scales gone", "a norm"],
)
def test_a_quantized_folder_that_was_damaged_is_named(quantized, tmp_path, change, message):
    damaged = shutil.copytree(quantized, tmp_path / "damaged")
    edit(damaged, change)
    with pytest.raises(ValueError, match=message):
        atv.verify(damaged, "bundled", max_new_tokens=0)


def test_a_config_and_a_record_that_differ_are_named(quantized, tmp_path):
    other = shutil.copytree(quantized, tmp_path / "other")
    record = json.loads((other / "quantization.json").read_text())
    record["settings"]["targets"] = record["settings"]["targets"][1:]
    (other / "quantization.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"its quantization_config\.config_groups does not match quantization\.json"):
        atv.verify(other, max_new_tokens=0)
