"""From a pruned folder to a quantized one that transformers loads, with the logits of what it was rounded to."""

import copy
import json
import shutil

import pytest
import torch
from helpers.moe import moe_llava
from helpers.tiny import random_llava
from safetensors.torch import load_file
from torch import nn
from transformers import Dinov2Config, LlavaForConditionalGeneration

import atv
from atv import plugins
from atv.calibration.calibration_set import numbered_batches
from atv.model.checkpoint import load_dequantized
from atv.model.lvlm import LVLM
from atv.model.offload import load_offloaded
from atv.quantization import AWQ, GPTQ, Quantized
from atv.quantization.blockwise import QuantizationPlan, quantize_blocks
from atv.quantization.packed_folder import packed, quantization_config
from atv.quantization.quantization_run import linears_of
from atv.quantization.whole_numbers import chosen_group_size, grids
from atv.records.run_folder import RunFolder
from atv.runtime.trainer import quiet_trainer
from atv.selection import AllTokens

pytest.importorskip("compressed_tensors")


def logits(model):
    ids = torch.arange(12)[None] + 20
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


def test_transformers_loads_the_folder_with_the_logits_of_its_whole_numbers(pruned, quantized):
    from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
    from transformers import AutoModelForImageTextToText

    tensors, masks = load_file(quantized / "model.safetensors"), atv.load_masks(quantized / "masks.safetensors")
    model, _ = atv.load(pruned)
    assert len(masks) == 42
    for name, mask in masks.items():
        stored = name.replace("model.language_model.", "language_model.model.")
        whole = unpack_from_int32(tensors[f"{stored}.weight_packed"], 4, torch.Size(mask.shape))
        assert not whole[~mask].any() and whole.min() >= -8 and whole.unique().numel() > 8
        made = Quantized(whole, tensors[f"{stored}.weight_scale"])
        assert made.scale.shape == (len(mask), mask.shape[1] // 64)
        model.get_submodule(name).weight.data.copy_(made.weight)
    expected = logits(model)
    for loaded in (AutoModelForImageTextToText.from_pretrained(quantized), atv.load(quantized, quantized=True)[0]):
        assert torch.equal(logits(loaded), expected)
    assert not torch.allclose(expected, logits(atv.load(pruned)[0]), atol=1e-3)


def test_a_tower_whose_tensors_are_parted_stays_in_floats(tmp_path):
    """DINOv2's gate and up are one tensor in its files."""
    config = copy.deepcopy(random_llava().config)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 12, "patch_size": 4}
    config.vision_config = Dinov2Config(**size, use_swiglu_ffn=True)
    model = LlavaForConditionalGeneration(config)
    linears = linears_of(LVLM.of(model), None)
    grid = grids(linears, 4, 16)
    weights = {
        name: grid[name].rounded(own.weight, grid[name].scales(own.weight, own.weight.dtype), own.weight != 0)
        for name, own in linears.items()
    }
    model.save_pretrained(tmp_path, state_dict=packed(model.state_dict(), weights, grid))
    edited = json.loads((tmp_path / "config.json").read_text()) | {
        "quantization_config": quantization_config(grid, False)
    }
    (tmp_path / "config.json").write_text(json.dumps(edited))
    assert any("mlp.weights_in.weight" in name for name in load_file(tmp_path / "model.safetensors"))
    loaded = load_dequantized(tmp_path).state_dict()
    expected = model.state_dict() | {f"{name}.weight": made.weight for name, made in weights.items()}
    assert loaded.keys() == expected.keys() and len(weights) == 21
    assert all(torch.equal(value, expected[name]) for name, value in loaded.items())


def test_the_record_says_what_it_cost(quantized):
    record = json.loads((quantized / "quantization.json").read_text())
    assert record["settings"]["bits"] == 4 and record["settings"]["group_size"] == 64
    assert 0 < max(record["errors"].values()) < 0.1 and len(record["errors"]) == 42
    size = sum(tensor.nbytes for tensor in load_file(quantized / "model.safetensors").values())
    assert record["bytes"]["after"] == size < 0.45 * record["bytes"]["before"]
    assert "in 4 bits" in (quantized / "README.md").read_text()


def test_it_is_measured_by_its_packed_bytes_and_with_floats_for_weights(pruned, quantized):
    sparse, own = atv.measure(pruned, quantized, prompt_tokens=1, new_tokens=1, repeats=1).values()
    assert own.parameters == sparse.parameters and own.nonzero <= sparse.nonzero
    assert own.bytes == (quantized / "model.safetensors").stat().st_size < 0.45 * sparse.bytes


def test_it_is_asked_but_not_pruned(quantized, tmp_path):
    with pytest.raises(ValueError, match=r"its weights are quantized \(compressed-tensors\), so it cannot be pruned"):
        atv.load(quantized)
    other = shutil.copytree(quantized, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["quantization_config"]["format"] = "marlin-24"
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="expected what `atv quantize` writes"):
        atv.load(other, quantized=True)


def test_channels_of_blocks_on_disk_take_no_scales(batches, tmp_path):
    random_llava().save_pretrained(tmp_path / "dense")
    lvlm = LVLM.of(load_offloaded(tmp_path / "dense", "disk", torch.device("cpu"), tmp_path / ".offload"))
    linears = linears_of(lvlm, None)
    plan = QuantizationPlan(linears, {}, grids(linears, 4, 16), AWQ(), AllTokens())
    with pytest.raises(
        ValueError, match="AWQ tries scales in all blocks at once and does not support offloaded models"
    ):
        quantize_blocks(
            lvlm,
            plan,
            numbered_batches(lvlm, batches),
            quiet_trainer(enable_progress_bar=False),
            RunFolder(tmp_path / "out", {}),
        )


def test_scales_are_tried_on_pixels_in_the_dtype_of_the_model(llava, batches, monkeypatch):
    tried = []
    monkeypatch.setattr("atv.quantization.blockwise.feeds", lambda lvlm, targets, inputs: tried.append(inputs) or [])
    linears = linears_of(lvlm := LVLM.of(llava.bfloat16()), None)
    plan = QuantizationPlan(linears, {}, grids(linears, 4, 16), AWQ(), AllTokens())
    with pytest.raises(ValueError, match="nothing in LlavaForConditionalGeneration"):
        quantize_blocks(lvlm, plan, numbered_batches(lvlm, batches), quiet_trainer(enable_progress_bar=False))
    assert [given["pixel_values"].dtype for given in tried] == [torch.bfloat16]


def test_bad_options_are_one_line(pruned, tmp_path, capsys):
    from atv.cli import main

    given = ["quantize", str(pruned), "--output", str(tmp_path / "out")]
    for options, message in (
        (["--group_size", "100"], "group_size: 100 does not divide the 192 inputs of model.language_model.layers.0"),
        (["--bits", "5"], "bits: expected one of 3, 4, 8, got 5"),
        (["--method", "GTPQ"], "method: unknown Quantizer 'GTPQ'; did you mean 'GPTQ'?"),
        (["--selection", "BalancedPools"], "selection: BalancedPools weights pools block by block, which"),
    ):
        assert main([*given, *options]) == 2
        assert message in capsys.readouterr().err


def test_another_precision_is_refused_or_another_run(pruned, quantized, small_pool, tmp_path):
    with pytest.raises(ValueError, match="got bf16-true, which casts the whole model"):
        atv.quantize(pruned, tmp_path / "out", trainer=quiet_trainer(precision="bf16-true"))
    with pytest.raises(ValueError, match=r"trainer\.fast_dev_run: expected false, got True"):
        atv.quantize(pruned, tmp_path / "out", trainer=quiet_trainer(fast_dev_run=True))
    assert not (tmp_path / "out").exists()
    options = {
        "samples": 2,
        "group_size": 64,
        "selection": "TextOnly",
        "trainer": quiet_trainer(precision="bf16-mixed"),
    }
    with pytest.raises(ValueError, match="holds another run: precision is None there and 'bf16-mixed' here"):
        atv.quantize(pruned, quantized, str(small_pool), **options)


def test_a_method_of_other_code_is_another_run(pruned, small_pool, tmp_path):
    def quantized_by(body):
        head = "from atv.quantization import Nearest\n\n\nclass EditedRounding(Nearest):\n"
        head += "    def quantize(self, weight, mask, pool, grid):\n"
        (tmp_path / "edited_rounding.py").write_text(f"{head}        {body}\n")
        plugins.load_file(tmp_path / "edited_rounding.py")
        options = {"samples": 2, "group_size": 64, "selection": "TextOnly", "method": "EditedRounding"}
        return atv.quantize(pruned, tmp_path / "out", str(small_pool), **options)

    quantized_by("return super().quantize(weight, mask, pool, grid)")
    with pytest.raises(ValueError, match=r"holds another run: code.EditedRounding is '\w+' there and '\w+' here"):
        quantized_by("return super().quantize(weight / 2, mask, pool, grid)")


@pytest.mark.parametrize("method", ["AWQ", pytest.param("GPTQ", marks=pytest.mark.slow)])
def test_a_killed_run_goes_on(method, batches, tmp_path, monkeypatch):
    """What an earlier start finished is taken as it was, the scales that AWQ moved into norms included."""
    from atv.plugins import resolve
    from atv.quantization import Quantizer

    def run(folder):
        lvlm = LVLM.of(random_llava())
        linears = linears_of(lvlm, None)
        plan = QuantizationPlan(linears, {}, grids(linears, 4, 16), resolve(method, Quantizer, "method"), AllTokens())
        made = quantize_blocks(
            lvlm, plan, numbered_batches(lvlm, batches), quiet_trainer(enable_progress_bar=False), RunFolder(folder, {})
        )
        return made, lvlm.model

    whole, model = run(tmp_path / "whole")
    for part in ("002.json", "002.safetensors"):
        (tmp_path / "whole" / "blocks" / part).unlink()
    again, other = run(tmp_path / "whole")
    assert again.weights.keys() == whole.weights.keys() and again.errors == whole.errors
    state = other.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_a_run_begun_whole_goes_on_with_blocks_on_disk(batches, tmp_path):
    random_llava().save_pretrained(tmp_path / "dense")

    def run(model):
        lvlm = LVLM.of(model)
        linears = linears_of(lvlm, None)
        plan = QuantizationPlan(linears, {}, grids(linears, 4, 16), GPTQ(), AllTokens())
        trainer = quiet_trainer(enable_progress_bar=False)
        return quantize_blocks(
            lvlm, plan, numbered_batches(lvlm, batches), trainer, RunFolder(tmp_path / "out", {})
        ), model

    whole, expected = run(random_llava())
    for part in ("002.json", "002.safetensors"):
        (tmp_path / "out" / "blocks" / part).unlink()
    again, model = run(load_offloaded(tmp_path / "dense", "disk", torch.device("cpu"), tmp_path / ".offload"))
    assert again.errors == whole.errors and len(list((tmp_path / "out").glob("model-block-*"))) == 3
    with torch.no_grad():
        assert torch.equal(model(**batches[0]).logits, expected(**batches[0]).logits)


def test_a_model_of_another_config_is_another_run(pruned, quantized, small_pool, tmp_path, capsys):
    from atv.cli import main

    other = shutil.copytree(pruned, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["text_config"]["rms_norm_eps"] *= 2
    (other / "config.json").write_text(json.dumps(config))
    options = ["--samples", "2", "--calibration", str(small_pool), "--group-size", "64", "--selection", "TextOnly"]
    begun = shutil.copytree(quantized, tmp_path / "begun")
    assert main(["quantize", str(other), "--output", str(begun), *options]) == 2
    assert "holds another run: config is" in capsys.readouterr().err


def test_experts_are_refused_by_name():
    with pytest.raises(ValueError, match=r"experts\.0\.down_proj is an expert of a fused layer"):
        linears_of(LVLM.of(moe_llava("qwen3_moe")), None)


def test_the_size_of_a_group():
    widths = {"a": nn.Linear(256, 1), "b": nn.Linear(384, 1)}
    assert (
        chosen_group_size(widths, None) == 128 and chosen_group_size(widths | {"c": nn.Linear(192, 1)}, None) == "row"
    )
    assert {grid.width for grid in grids(widths, 4, "row").values()} == {256, 384}
    with pytest.raises(
        ValueError, match="group_size: 256 does not divide the 384 inputs of b; choices: 16, 32, 64, 128"
    ):
        chosen_group_size(widths, 256)
