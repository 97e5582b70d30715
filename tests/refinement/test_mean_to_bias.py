"""What pruned weights gave on average goes into the bias: by the formula, in whole runs, and refused where none is."""

import copy

import numpy as np
import pytest
import torch
from helpers.pruned_folders import edit, save_pruned
from helpers.tiny import make_batch, random_llava
from transformers import AutoModelForImageTextToText, LlavaForConditionalGeneration

import atv
from atv.verification.saved_model import VerificationError

BATCHES = [make_batch([5, 8], 1), make_batch([6], 2)]
DOWN = "model.language_model.layers.0.mlp.down_proj"
OPTIONS = {"selection": "AllTokens", "pattern": atv.FFNChannels(8), "sparsity": 0.5, "reconstruct": "MeanToBias"}


def biased():
    """The random LLaVA with a bias in every Linear of its decoder, the same at every call."""
    config = copy.deepcopy(random_llava().config)
    config.text_config.attention_bias = config.text_config.mlp_bias = True
    torch.manual_seed(1)
    model = LlavaForConditionalGeneration(config).eval()
    for name, parameter in model.named_parameters():
        if "language_model" in name and name.endswith(".bias"):
            parameter.data.normal_()
    return model


def mean_input(model, name):
    """Of a Linear, over the valid tokens of all batches, float64 (in,)."""
    seen = []
    hook = model.get_submodule(name).register_forward_hook(lambda module, args, output: seen.append(args[0]))
    with torch.no_grad():
        rows = [(model(**batch), seen[-1][batch["attention_mask"].bool()])[1] for batch in BATCHES]
    hook.remove()
    return torch.cat(rows).double().mean(0)


def test_the_mean_of_the_outputs_is_kept():
    rng = np.random.default_rng(0)
    inputs, weight, kept = rng.normal(2, 1, (50, 6)), rng.normal(size=(4, 6)), rng.random((4, 6)) < 0.5
    moments = torch.tensor(inputs.mean(0)), torch.tensor(inputs.var(0))
    pool = atv.PoolStatistics(torch.ones(6), None, *moments)
    shift = atv.MeanToBias().shift(torch.tensor(weight), torch.tensor(kept), pool).numpy()
    np.testing.assert_allclose((inputs @ (weight * kept).T + shift).mean(0), (inputs @ weight.T).mean(0), rtol=1e-12)


def test_a_smaller_model_has_the_biases_and_is_what_it_says(tmp_path):
    dense, model = biased(), biased()
    dense.save_pretrained(tmp_path / "dense")
    report = save_pruned(model, BATCHES, tmp_path / "small", **OPTIONS)
    before = dense.get_submodule(DOWN)
    lost = before.weight.double().masked_fill(report.masks[DOWN], 0) @ mean_input(dense, DOWN)
    after = model.get_submodule(DOWN).bias
    torch.testing.assert_close(after.double(), before.bias.double() + lost, rtol=1e-4, atol=1e-5)
    assert float(lost.detach().abs().max()) > 0.01
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "small")
    assert torch.equal(loaded.get_submodule(DOWN).bias, after)
    assert loaded.get_submodule(DOWN).in_features == 24
    atv.verify(tmp_path / "small", tmp_path / "dense", max_new_tokens=0)
    edit(tmp_path / "small", lambda tensors: tensors["language_model.model.layers.1.self_attn.o_proj.bias"].add_(1))
    with pytest.raises(VerificationError, match=r"layers\.1\.self_attn\.o_proj\.bias differs from the base model's"):
        atv.verify(tmp_path / "small", tmp_path / "dense", max_new_tokens=0)


def test_a_run_that_goes_on_moves_each_bias_once(tmp_path):
    models = biased(), biased()
    for model in models:
        atv.prune(model, BATCHES, run_dir=tmp_path, **OPTIONS)
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(second[name], tensor) for name, tensor in first.items())


def test_it_is_refused_where_there_is_no_bias_to_move():
    with pytest.raises(ValueError, match=r"MeanToBias moves what is lost into biases, and .*q_proj has none"):
        atv.prune(random_llava(), BATCHES, reconstruct="MeanToBias")
    pathways = {name: atv.Pathway("AllTokens", reconstruct="MeanToBias") for name in ("text", "visual")}
    with pytest.raises(ValueError, match="MeanToBias moves biases, which pathways share"):
        atv.decouple(biased(), BATCHES, **pathways)
