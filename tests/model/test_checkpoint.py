"""Checkpoints that are not what they seem: refused by name, whole or memory-mapped, and never filled with noise."""

import importlib.util
import json
import shutil

import pytest
import torch
import transformers
from helpers.pruned_folders import edit
from safetensors import safe_open
from torch import nn

import atv
from atv.bundled import BUNDLED_MODEL
from atv.model import weight_files
from atv.model.checkpoint import check_folder, load_whole
from atv.model.loading import load_model, load_processor
from atv.model.offload import load_offloaded
from atv.verification.saved_model import opened

UP = "language_model.model.layers.1.mlp.up_proj.weight"
HEAD, VECTOR = "language_model.lm_head.weight", "vision_tower.pre_layrnorm.bias"


@pytest.fixture
def folder(llava, tmp_path):
    llava.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def tensors(change):
    return lambda folder: edit(folder, change)


def config(change, file="config.json"):
    def alter(folder):
        content = json.loads((folder / file).read_text())
        change(content)
        (folder / file).write_text(json.dumps(content))

    return alter


def renamed(found):
    for name in list(found):
        found[f"module.{name}"] = found.pop(name)


def fewer_blocks(found):
    found["text_config"]["num_hidden_layers"] -= 1


def more_blocks(found):
    found["text_config"]["num_hidden_layers"] += 1


def as_dtype(dtype):
    return lambda found: found.update({UP: found[UP].to(dtype)})


def beside(name):
    return lambda found: found.update({UP.removesuffix("weight") + name: torch.ones(48)})


def quantized(**settings):
    return lambda found: found.update(quantization_config=settings)


def quantized_text(found):
    found["text_config"]["quantization_config"] = {"quant_method": "awq"}


NOT_WHOLE = {
    "a weight is gone": (tensors(lambda found: found.pop(UP)), "lacks 1 tensor of Llava.*layers.1.mlp.up_proj.weight"),
    "the head is gone": (tensors(lambda found: found.pop(HEAD)), "lacks 1 tensor of .*lm_head.weight"),
    "a vector is gone": (tensors(lambda found: found.pop(VECTOR)), "lacks 1 tensor of .*pre_layrnorm.bias"),
    "foreign names": (tensors(renamed), r"lacks \d+ tensors of LlavaForConditionalGeneration.*, \.\.\.$"),
    "a block more in the config": (config(more_blocks), r"lacks 9 tensors"),
    "a block less in the config": (config(fewer_blocks), r"holds 9 tensors that Llava.* has no place for"),
    "a tensor too many": (tensors(lambda found: found.update({"adapter.w": torch.ones(2)})), "holds 1 .*: adapter.w$"),
    "a bias too many": (tensors(beside("bias")), "holds 1 tensor that .*up_proj.bias"),
    "another shape": (
        tensors(lambda found: found.update({UP: found[UP][:-1].clone()})),
        r"up_proj.weight is \[47, 32\] in ",
    ),
    "float8": (tensors(as_dtype(torch.float8_e4m3fn)), r"up_proj.weight \(F8_E4M3\) is from a quantized checkpoint"),
    "int8": (tensors(as_dtype(torch.int8)), "up_proj.weight holds I8: a quantized checkpoint cannot be pruned"),
    "packed": (tensors(as_dtype(torch.uint8)), "up_proj.weight holds U8: a quantized checkpoint"),
    "scales": (tensors(beside("weight_scale_inv")), r"up_proj.weight_scale_inv \(F32\) is from a quantized checkpoint"),
    "gptq": (tensors(beside("qweight")), "up_proj.qweight .* give the model that it was made from"),
    "fp8 config": (config(quantized(quant_method="fp8")), r"quantization_config says .* quantized \(fp8\)"),
    "bitsandbytes": (config(quantized(quant_method="bitsandbytes", load_in_4bit=True)), r"quantized \(bitsandbytes\)"),
    "the text's config": (config(quantized_text), r"text_config.quantization_config says .* \(awq\)"),
    "text model": (
        config(lambda found: found.update(model_type="llama")),
        "model_type 'llama' is not an image-text-to-text",
    ),
    "unknown type": (config(lambda found: found.update(model_type="x" * 5000)), "not an image-text-to-text type"),
    "no type": (config(lambda found: found.pop("model_type")), "model_type None is not an image-text-to-text"),
    "wrong value": (
        config(lambda found: found["text_config"].update(hidden_size="wide")),
        "config.json cannot be read: .*'hidden_size' expected int",
    ),
}


@pytest.mark.parametrize("what", NOT_WHOLE)
def test_what_is_not_the_model_that_its_config_describes_is_refused(what, folder, tmp_path):
    change, message = NOT_WHOLE[what]
    change(folder)
    ways = (
        lambda: load_whole(check_folder(folder)),
        lambda: load_offloaded(folder, "disk", torch.device("cpu"), tmp_path / "scratch"),
        lambda: opened(folder).__enter__(),
    )
    for load in ways:
        with pytest.raises(ValueError, match=message) as error:
            load()
        assert len(str(error.value)) < 700 and "\n" not in str(error.value)


def test_a_tensor_of_another_shape_is_named_where_transformers_is_told_to_be_silent(folder):
    change, message = NOT_WHOLE["another shape"]
    change(folder)
    transformers.logging.set_verbosity_error()
    with pytest.raises(ValueError, match=message):
        load_whole(check_folder(folder))


def test_a_config_of_a_much_larger_model_is_refused_before_it_fills_the_memory(folder):
    """Without a text_config a LLaVA is one of 7 B parameters."""
    config = json.loads((folder / "config.json").read_text())
    del config["text_config"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config.json describes 6,\d+\.\d M parameters, but the weight files hold 0"):
        load_whole(check_folder(folder))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_named(folder, number):
    edit(folder, lambda found: found[UP][3].fill_(number))
    with pytest.raises(ValueError, match=r"layers.1.mlp.up_proj.weight in .* holds NaN or infinite numbers"):
        load_whole(check_folder(folder))


def test_weights_in_double_precision_are_no_quantized_ones(folder):
    edit(folder, lambda found: found.update({name: value.double() for name, value in found.items()}))
    assert load_whole(check_folder(folder)).dtype == torch.float32


def files(change):
    return lambda folder: change(folder / "model.safetensors")


NO_FILES = {
    "cut short": (files(lambda file: file.write_bytes(file.read_bytes()[:-10])), "is not a complete safetensors file"),
    "empty": (files(lambda file: file.write_bytes(b"")), "is not a complete safetensors file"),
    "a pointer": (files(lambda file: file.write_text("version https://git-lfs.github.com/spec/v1\n")), "Git LFS"),
    "gone": (files(lambda file: file.unlink()), "cannot be loaded: .*model.safetensors"),
    "a config cut short": (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
    "a config of another kind": (lambda folder: (folder / "config.json").write_text("[]"), "it holds a list"),
    "a shard elsewhere": (
        lambda folder: (
            (folder / "model.safetensors").rename(folder.parent / "other.safetensors"),
            (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../other.safetensors"}}'),
        ),
        "names ../other.safetensors, which lies outside",
    ),
    "a shard that is not there": (
        lambda folder: (
            (folder / "model.safetensors").unlink(),
            (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}'),
        ),
        "names model-1.safetensors, which does not exist",
    ),
    "two sets of weights": (
        lambda folder: (
            (folder / "old.safetensors").write_bytes((folder / "model.safetensors").read_bytes()),
            (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "old.safetensors"}}'),
        ),
        "holds two sets of weights, model.safetensors and what model.safetensors.index.json names",
    ),
    "an adapter beside it": (
        lambda folder: (folder / "adapter_config.json").write_text("{}"),
        "holds an adapter .adapter_config.json. beside the model, which would be left out",
    ),
    "a generation config cut short": (
        lambda folder: (folder / "generation_config.json").write_text('{"eos_token_id": 2,'),
        "generation_config.json cannot be read",
    ),
    "an end that is a truth": (
        lambda folder: (folder / "generation_config.json").write_text('{"eos_token_id": true}'),
        "^model: .*generation_config.json: eos_token_id.* is True: Input should be a valid integer",
    ),
    "ends in words": (
        lambda folder: (folder / "generation_config.json").write_text('{"eos_token_id": ["<end>"]}'),
        "^model: .*generation_config.json: eos_token_id.* Input should be a valid integer",
    ),
    "a penalty that is a list": (
        lambda folder: (folder / "generation_config.json").write_text('{"repetition_penalty": [1.1]}'),
        "^model: .*generation_config.json: repetition_penalty is .1.1.: Input should be a valid number",
    ),
    "a folder in its place": (
        lambda folder: (folder / "generation_config.json").unlink() or (folder / "generation_config.json").mkdir(),
        "generation_config.json cannot be read: .*Is a directory",
    ),
    "NaN": (
        lambda folder: (folder / "tokenizer_config.json").write_text('{"model_max_length": NaN}'),
        "tokenizer_config.json cannot be read: it holds NaN, which is not a number",
    ),
    "tokens of another kind": (
        lambda folder: (folder / "added_tokens.json").write_text("[]"),
        "added_tokens.json must map names to values, but it holds a list",
    ),
    "a broken index": (
        lambda folder: (
            (folder / "model.safetensors").unlink(),
            (folder / "model.safetensors.index.json").write_text("[1]"),
        ),
        "index.json cannot be read",
    ),
}


@pytest.mark.parametrize("what", NO_FILES)
def test_files_that_are_broken_are_named(what, folder):
    change, message = NO_FILES[what]
    change(folder)
    with pytest.raises(ValueError, match=message):
        load_whole(check_folder(folder))


def test_two_tensors_that_the_config_calls_one_are_refused(folder, tmp_path):
    """transformers keeps both; engines that tie drop one."""
    config(lambda found: found.update(tie_word_embeddings=True))(folder)
    config(lambda found: found["text_config"].update(tie_word_embeddings=True))(folder)
    message = r"\(tie_word_embeddings\) ties lm_head.weight to .*embed_tokens.weight, but .* holds two that differ"
    with pytest.raises(ValueError, match=message):
        load_whole(check_folder(folder))
    with pytest.raises(ValueError, match=message):
        load_offloaded(folder, "disk", torch.device("cpu"), tmp_path / "scratch")
    edit(folder, lambda found: found.update({HEAD: found["language_model.model.embed_tokens.weight"].clone()}))
    load_whole(check_folder(folder))


def test_a_whole_file_may_have_an_index(folder):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model.safetensors"}}')
    load_whole(check_folder(folder))


def test_what_older_releases_wrote_and_newer_ones_compute_is_no_tensor_too_many(folder):
    old = {"language_model.model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    old["vision_tower.vision_model.embeddings.position_ids"] = torch.arange(10)[None]
    edit(folder, lambda found: found.update(old))
    assert load_whole(check_folder(folder)).lm_head.weight.isfinite().all()


def test_the_headers_are_read_once_a_load(monkeypatch):
    read = []
    monkeypatch.setattr(weight_files, "safe_open", lambda file, kind: read.append(file) or safe_open(file, kind))
    load_model(BUNDLED_MODEL)
    assert read == [BUNDLED_MODEL / "model.safetensors"]


def test_a_model_that_was_quantized_in_memory_is_refused(llava, batches):
    linear = llava.model.language_model.layers[0].mlp.up_proj
    linear.weight = nn.Parameter(linear.weight.detach().to(torch.int8), requires_grad=False)
    with pytest.raises(ValueError, match=r"up_proj.weight is int8: a quantized model cannot be pruned"):
        atv.prune(llava, batches)
    linear.weight = nn.Parameter(torch.zeros(48, 32).to(torch.float8_e5m2), requires_grad=False)
    with pytest.raises(ValueError, match=r"up_proj.weight is float8_e5m2"):
        atv.prune(llava, batches)


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed")
def test_a_processor_that_needs_a_missing_library(tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BUNDLED_MODEL / name, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_vl"}))
    kinds = {"image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2VLProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(kinds))
    with pytest.raises(
        ValueError, match=r"model: its processor \('.*'\) cannot be loaded: .* requires the Torchvision library"
    ):
        load_processor(tmp_path)
