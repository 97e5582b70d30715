"""Both halves read from published files are the weights that went into them."""

import json

import numpy as np
import pytest
import torch
from everyday.assembly import tiny_halves
from transformers import AutoModel, CLIPConfig, CLIPModel, LlamaConfig, LlamaForCausalLM

from atv.everyday.assembly.language_half import language_from_folder, language_from_gguf
from atv.everyday.assembly.vision_half import vision_from_folder, vision_from_onnx


def test_quantized_weights_are_multiplied_out_exactly(language):
    stored = tiny_halves.language_weights()
    assert language.weights.keys() == stored.keys()
    for name, weight in stored.items():
        expected = weight if weight.ndim == 1 else tiny_halves.read_q4_1(weight)
        assert language.weights[name].dtype == torch.float32
        np.testing.assert_array_equal(language.weights[name].numpy(), expected, err_msg=name)


def test_the_head_is_tied_and_the_config_ordinary(language):
    half = language
    assert half.head is None and half.embeddings == "embed_tokens.weight"
    assert (
        half.config.num_key_value_heads == tiny_halves.KV_HEADS and half.config.rope_parameters["rope_theta"] == 10000.0
    )
    assert not hasattr(half.config, "quantization_config")


@pytest.mark.parametrize(("split", "pieces"), [("smollm", ["ĊĊ", "1", "2"]), ("gpt-2", ["Ċ", "Ċ", "1", "2"])])
def test_digits_are_split_off_as_the_file_says(tmp_path, split, pieces):
    file = tmp_path / "tiny.gguf"
    tiny_halves.write_gguf(file, tiny_halves.language_weights(), split)
    tokenizer = language_from_gguf(file).tokenizer
    assert tokenizer.convert_ids_to_tokens(tokenizer("\n\n12")["input_ids"]) == pieces
    assert tokenizer.decode(tokenizer("the café\n\n12")["input_ids"]) == "the café\n\n12"


def test_a_language_model_from_a_folder(tmp_path, language):
    half = language
    model = LlamaForCausalLM(LlamaConfig(**half.config.to_dict() | {"tie_word_embeddings": False}))
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    half.tokenizer.save_pretrained(tmp_path)
    read = language_from_folder(tmp_path)
    assert torch.equal(read.head, model.lm_head.weight.float()) and read.head.dtype == torch.float32
    assert torch.equal(read.weights["norm.weight"], model.model.norm.weight.float())


def test_a_gguf_that_lacks_a_weight(tmp_path):
    weights = tiny_halves.language_weights()
    del weights["layers.1.mlp.up_proj.weight"]
    tiny_halves.write_gguf(tmp_path / "tiny.gguf", weights)
    with pytest.raises(ValueError, match=r"^language: .*tiny.gguf' .*: it lacks model.layers.1.mlp.up_proj.weight"):
        language_from_gguf(tmp_path / "tiny.gguf")


def test_a_file_that_is_no_gguf(tmp_path):
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ValueError, match=r"^language: .*broken.gguf' cannot be read as a language model") as raised:
        language_from_gguf(file)
    assert "\n" not in str(raised.value)


@torch.no_grad()
def states(half, tower):
    """What the half, and the tower that it was read from, make of noise: their hidden states."""
    own = AutoModel.from_config(half.config).eval()
    own.load_state_dict(half.weights)
    pixels = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    return [model(pixels, output_hidden_states=True).hidden_states for model in (own, tower)]


@pytest.mark.parametrize("blocks", [None, 2])
def test_a_tower_out_of_an_exported_graph(tmp_path, blocks):
    model = tiny_halves.tower()
    tiny_halves.write_onnx(tmp_path / "tiny.onnx", model)
    half = vision_from_onnx(tmp_path / "tiny.onnx", blocks)
    seen, expected = states(half, model)
    assert len(seen) == 1 + (blocks or tiny_halves.TOWER_BLOCKS)
    assert all(torch.equal(one, other) for one, other in zip(seen, expected, strict=False))


LACKS_A_WEIGHT = r"in .*tiny.onnx', encoder[\w.]+ is missing"


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        ("backbone.encoder.layer.1.norm2.bias", LACKS_A_WEIGHT),
        ("onnx::Concat_7", r".*tiny.onnx' holds no DINOv2 with a class token: embeddings[\w.]+ is missing"),
        ("onnx::MatMul_1002", LACKS_A_WEIGHT),
    ],
)
def test_a_graph_that_lacks_a_weight(tmp_path, left_out, message):
    tiny_halves.write_onnx(tmp_path / "tiny.onnx", tiny_halves.tower(), leave_out=[left_out])
    with pytest.raises(ValueError, match=f"^vision: {message}"):
        vision_from_onnx(tmp_path / "tiny.onnx", 3)


def test_a_graph_of_another_network(tmp_path):
    tiny_halves.write_onnx(tmp_path / "tiny.onnx", tiny_halves.tower(), leave_out=["backbone.embeddings.cls_token"])
    with pytest.raises(ValueError, match=r"^vision: .*tiny.onnx' holds no DINOv2 with"):
        vision_from_onnx(tmp_path / "tiny.onnx", 3)


def test_more_blocks_than_there_are(tmp_path):
    tiny_halves.write_onnx(tmp_path / "tiny.onnx", tiny_halves.tower())
    with pytest.raises(ValueError, match=r"^blocks: 4 is out of range; the tower in .* has 3"):
        vision_from_onnx(tmp_path / "tiny.onnx", 4)


def test_a_file_that_is_no_onnx(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"\xff" * 40)
    with pytest.raises(ValueError, match=r"^vision: .*broken.onnx' is not an ONNX file"):
        vision_from_onnx(tmp_path / "broken.onnx", 3)


def test_a_tower_from_a_folder(tmp_path):
    model = tiny_halves.tower()
    model.save_pretrained(tmp_path)
    half = vision_from_folder(tmp_path, 2)
    assert half.config.num_hidden_layers == 2
    assert half.weights.keys() == tiny_halves.tower(2).state_dict().keys()
    assert torch.equal(half.weights["encoder.layer.1.mlp.fc1.weight"], model.encoder.layer[1].mlp.fc1.weight)


def test_a_tower_from_a_folder_of_clip(tmp_path):
    """Its config and weights stand beside those of a text half."""
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 3}
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    vision |= {"image_size": 12, "patch_size": 4}
    model = CLIPModel(CLIPConfig(text_config=text | {"vocab_size": 9}, vision_config=vision, projection_dim=8)).eval()
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1]}')
    half = vision_from_folder(tmp_path, 2)
    seen, expected = states(half, model.vision_model)
    assert len(seen) == 3 and torch.equal(seen[2], expected[2])
    assert half.mean == (0.5, 0.4, 0.3) and half.std == (0.2, 0.2, 0.1)


def test_a_tower_that_lacks_weights(tmp_path):
    tiny_halves.tower(2).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text()) | {"num_hidden_layers": 3, "stage_names": None, "out_features": None}
    file.write_text(json.dumps(config | {"out_indices": None}))
    with pytest.raises(ValueError, match=r"^vision: .* cannot be read as a vision tower: it lacks encoder.layer.2"):
        vision_from_folder(tmp_path, None)
