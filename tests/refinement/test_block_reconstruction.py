"""Blocks trained against the dense ones: by a loop in plain torch, with every other choice, resumed, refused."""

import copy

import lightning as L
import pytest
import torch
from helpers.moe import moe_llava
from helpers.tiny import llava_around, make_batch, singles
from transformers import LlamaConfig

import atv

FIRST = "model.language_model.layers.0"


def trained_by_hand(llava, batches, masks, optimizer, rate, falls, epochs):
    """The first block's weights, float64, by Linear: each sample by itself and without padding."""
    model, given = copy.deepcopy(llava).double(), []
    layer = model.get_submodule(FIRST)
    layer.register_forward_pre_hook(lambda _, args, kwargs: given[-1].append((args, kwargs)), with_kwargs=True)
    with torch.no_grad():
        for batch in batches:
            given.append([])
            for sample in singles([batch]):
                typed = {name: part.double() if part.is_floating_point() else part for name, part in sample.items()}
                model(**typed, use_cache=False)
    layer._forward_pre_hooks.clear()
    dense = copy.deepcopy(layer)
    weights = {name: layer.get_submodule(name.removeprefix(f"{FIRST}.")).weight for name in masks}
    for name, weight in weights.items():
        weight.data[~masks[name]] = 0
    made = optimizer(list(weights.values()))
    for step in range(epochs * len(given)):
        made.param_groups[0]["lr"] = rate * (1 - step / (epochs * len(given)) if falls else 1)
        errors = []
        for args, kwargs in given[step % len(given)]:
            with torch.no_grad():
                wanted = dense(*args, **kwargs)
            errors.append((layer(*args, **kwargs) - wanted)[0].square().sum(-1))
        made.zero_grad()
        torch.cat(errors).mean().backward()
        for name, weight in weights.items():
            weight.grad[~masks[name]] = 0
        made.step()
    return {name: weight.detach() for name, weight in weights.items()}


@pytest.mark.parametrize("kind", ["AdamW", "RMSprop"])
def test_weights_are_those_of_a_loop_in_plain_torch(llava, batches, kind):
    dense, rate = copy.deepcopy(llava), 2e-3
    report = atv.prune(llava, batches, reconstruct=atv.BlockReconstruction(kind, rate, epochs=2))
    masks = {name: mask for name, mask in report.masks.items() if name.startswith(FIRST)}
    optimizer = {"AdamW": torch.optim.Adam, "RMSprop": torch.optim.RMSprop}[kind]
    expected = trained_by_hand(dense, batches, masks, optimizer, rate, kind == "AdamW", 2)
    for name, weight in expected.items():
        found, before = (model.get_submodule(name).weight.detach().double() for model in (llava, dense))
        moved = (weight - before).masked_fill(~masks[name], 0)
        assert moved.abs().mean() > rate / 4
        # An entry whose gradient is nothing but rounding may go either way.
        assert ((found - weight).abs() < 0.02 * rate).double().mean() > 0.998, name
        assert not found[~masks[name]].any()


@pytest.mark.parametrize(
    "options",
    [
        {"criterion": "SparseGPT", "pattern": "2:4", "selection": "AllTokens"},
        {"pattern": "PerBlock", "allocation": "OWL", "refine": "DSnoT", "propagate": False},
        {"criterion": "WandaPlusPlus", "selection": "BalancedPools", "targets": ["*.[01].self_attn.*"]},
    ],
    ids=["SparseGPT", "one-shot", "Wanda++"],
)
def test_the_error_of_every_block_falls_and_zeros_stay(llava, batches, options):
    step = atv.BlockReconstruction(rate=1e-3, epochs=3)
    again = copy.deepcopy(llava)
    report = atv.prune(llava, batches, reconstruct=step, **options)
    assert len(report.masks) == 8 or all(block.step_errors for block in report.blocks)
    for errors in (block.step_errors["both"] for block in report.blocks if block.step_errors):
        assert 0 < errors["trained block"] < errors["block"]
    assert report.blocks[0].step_seconds["both"]["train"] > 0
    for name, mask in report.masks.items():
        assert not llava.get_submodule(name).weight[~mask].any()
    assert report.updates_weights and all(p.requires_grad and p.grad is None for p in llava.parameters())
    atv.prune(again, batches, reconstruct=step, **options)
    assert all(torch.equal(a, b) for a, b in zip(llava.parameters(), again.parameters(), strict=True))


class Gradients(atv.BlockReconstruction):
    """Looks at the first batch's gradients, and trains nothing."""

    def train(self, block, weights, masks):
        self.found = block.gradients(block.batches[0], {name: weight.float() for name, weight in weights.items()})
        return dict(weights)


@pytest.mark.filterwarnings("ignore:reconstruct")
def test_gradients_of_thousands_of_tokens_do_not_vanish_in_half_precision():
    config = LlamaConfig(vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=1, pad_token_id=0)
    config.num_attention_heads = config.num_key_value_heads = 4
    model, found = llava_around(config).half(), {}
    for dtype in (torch.float16, torch.float32):
        batch = make_batch([2000] * 4, 0)
        batch["pixel_values"] = batch["pixel_values"].to(dtype)
        step = Gradients()
        atv.prune(copy.deepcopy(model).to(dtype), [batch], selection="AllTokens", reconstruct=step)
        found[dtype] = step.found
    for name, exact in found[torch.float32].items():
        half = found[torch.float16][name]
        assert torch.cosine_similarity(half.flatten(), exact.flatten(), dim=0) > 0.99, name
        assert float(half.norm()) == pytest.approx(float(exact.norm()), rel=0.05)


def test_first_values_are_those_of_another_step(llava, batches):
    """Least squares of each Linear, then all of them together: lower than either."""
    errors = {}
    for name, first in (("masked", None), ("solved", "LeastSquares")):
        step = atv.BlockReconstruction(rate=3e-4, first=first and atv.LeastSquares())
        made = atv.prune(copy.deepcopy(llava), batches, selection="AllTokens", reconstruct=step).blocks[0].step_errors
        errors[name] = made["both"]
    assert errors["solved"].keys() == {"criterion", "reconstruct", "block", "trained block"}
    assert errors["solved"]["trained block"] < errors["solved"]["block"] < errors["masked"]["block"]


def test_training_that_makes_it_worse_is_not_taken(llava, batches):
    plain = copy.deepcopy(llava)
    with pytest.warns(UserWarning, match="reconstruct: training block 2 did not lower its error; it stays"):
        report = atv.prune(llava, batches, reconstruct=atv.BlockReconstruction(rate=1e3))
    atv.prune(plain, batches)
    assert all(torch.equal(a, b) for a, b in zip(llava.parameters(), plain.parameters(), strict=True))
    errors = report.blocks[1].step_errors["both"]
    assert errors["block"] == errors["trained block"]


def test_a_killed_run_goes_on(llava, batches, tmp_path):
    step, again = {"reconstruct": atv.BlockReconstruction(rate=1e-3)}, copy.deepcopy(llava)
    atv.prune(llava, batches, run_dir=tmp_path, **step)
    (tmp_path / "blocks" / "002.json").unlink()
    atv.prune(again, batches, run_dir=tmp_path, **step)
    assert all(torch.equal(a, b) for a, b in zip(llava.parameters(), again.parameters(), strict=True))


def test_what_cannot_be_trained_is_refused(llava, batches):
    llava.model.forward = lambda **_: pytest.fail("the model was run")
    message = r"reconstruct: BlockReconstruction supports only Linears, but .* is an expert"
    with pytest.raises(ValueError, match=message):
        atv.prune(moe_llava("qwen3_moe"), batches, reconstruct="BlockReconstruction")
    text = atv.Pathway("TextOnly", reconstruct="BlockReconstruction")
    with pytest.raises(ValueError, match="BlockReconstruction trains a block as a whole, but decoupled pathways have"):
        atv.decouple(llava, batches, text=text, visual=atv.Pathway("VisualOnly"))
    with pytest.raises(ValueError, match=r"BlockReconstruction trains what is left of a block, .* WholeBlocks"):
        options = {"pattern": "WholeBlocks", "allocation": "BlockInfluence", "sparsity": 0.34}
        atv.prune(llava, batches, reconstruct="BlockReconstruction", **options)
    for arguments, message in (
        ({"optimizer": "SGD"}, "optimizer: expected AdamW or RMSprop, got 'SGD'"),
        ({"rate": 0}, "rate: expected more than 0, got 0"),
        ({"epochs": 0}, "epochs: expected 1 or more, got 0"),
        ({"first": atv.BlockReconstruction()}, "first: BlockReconstruction cannot come before itself"),
        ({"first": atv.MeanToBias()}, "first: MeanToBias changes biases, but only weights are trained"),
    ):
        with pytest.raises(ValueError, match=message):
            atv.BlockReconstruction(**arguments)


def test_a_trainer_in_inference_mode_serves_too(llava, batches):
    step, again = atv.BlockReconstruction(rate=1e-3), copy.deepcopy(llava)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    atv.prune(llava, batches, reconstruct=step)
    atv.prune(again, batches, reconstruct=step, trainer=trainer)
    assert all(torch.equal(one, again.get_parameter(name)) for name, one in llava.named_parameters())
