"""Wanda++: its score by plain backward passes, with every pool, resumed, and refused by name."""

import copy

import lightning as L
import numpy as np
import pytest
import torch
from helpers.moe import moe_llava
from helpers.tiny import singles

import atv
from atv.calibration.block_gradients import unit_outputs

LAYERS = "model.language_model.layers"


def dense_run(model, batches):
    """Linear -> its weight, its inputs' squared norms and d||block(x)|| / dW, both by sample; by ordinary backwards."""
    model, made, read, found = copy.deepcopy(model).double(), {}, {}, {}
    linears = {n: m for n, m in model.named_modules() if LAYERS in n and isinstance(m, torch.nn.Linear)}
    for name, linear in linears.items():
        linear.register_forward_pre_hook(lambda _, args, name=name: read.update({name: args[0][0].detach()}))
    for block in range(3):
        layer = model.get_submodule(f"{LAYERS}.{block}")
        layer.register_forward_hook(lambda _, args, out, block=block: made.update({block: out}))
    for sample in singles(batches):
        model(**{key: value.double() if value.is_floating_point() else value for key, value in sample.items()})
        for block, output in made.items():
            inside = [name for name in linears if name.startswith(f"{LAYERS}.{block}.")]
            weights = [linears[name].weight for name in inside]
            gradients = torch.autograd.grad(output.norm(), weights, retain_graph=True)
            for name, gradient in zip(inside, gradients, strict=True):
                found.setdefault(name, []).append((read[name].square().sum(0).numpy(), gradient.numpy()))
    parts = {name: map(np.array, zip(*samples, strict=True)) for name, samples in found.items()}
    return {name: (linears[name].weight.detach().numpy(), *both) for name, both in parts.items()}


def test_masks_are_those_of_the_formula(llava, batches):
    dense = dense_run(llava, batches)
    report = atv.prune(llava, batches, selection="AllTokens", criterion="WandaPlusPlus", propagate=False)
    wanda = moved = 0
    for name, (weight, squares, gradients) in dense.items():
        norm, regional = np.sqrt(squares.mean(0)), np.sqrt((gradients**2).mean(0))
        masks = []
        for score in (np.abs(weight) * (norm + 100 * regional), np.abs(weight) * norm):
            mask = np.ones_like(weight, dtype=bool)
            np.put_along_axis(mask, np.argsort(score, axis=1)[:, : weight.shape[1] // 2], False, axis=1)
            masks.append(mask)
        assert np.array_equal(report.masks[name].numpy(), masks[0]), name
        wanda, moved = wanda + masks[1].size, moved + (masks[0] != masks[1]).sum()
    assert moved > 0.01 * wanda


def test_gradients_are_means_as_the_norms_are(llava, batches):
    """Over samples, or over tokens where the rule's norms are; padding, other samples and batches play no part."""
    seen = {}

    class Keeps(atv.WandaPlusPlus):
        """Notes the gradients of the first block's Linears."""

        def score(self, weight, pool):
            seen.setdefault(type(self).rule, []).append(pool.gradient)
            return super().score(weight, pool)

    made = [gradients for _, _, gradients in dense_run(llava, batches).values()][:7]
    for rule, count in (("AllTokens", 5), ("AMIA", 35 + 45), ("AllTokens alone", 5)):
        Keeps.rule, given = rule, singles(batches) if "alone" in rule else batches
        atv.prune(copy.deepcopy(llava), given, selection=rule.split()[0], criterion=Keeps())
        for expected, found in zip(made, seen[rule][-21:], strict=False):
            total = np.sqrt((expected**2).sum(0) / count)
            np.testing.assert_allclose(found.numpy(), total, rtol=1e-3, atol=1e-4 * total.max())


def test_no_scale_is_wanda(llava, batches):
    masks = [
        atv.prune(copy.deepcopy(llava), batches, criterion=criterion).masks
        for criterion in ("Wanda", atv.WandaPlusPlus(scale=0))
    ]
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])


def test_half_precision_holds_what_is_run_backward():
    output = torch.full((1, 2000, 4096), 0.01, dtype=torch.float16)
    assert unit_outputs(output, torch.ones(1, 2000, dtype=torch.bool)).sub(1).abs().max() < 0.01
    assert not unit_outputs(output, torch.zeros(1, 2000, dtype=torch.bool)).any()


def test_a_trainer_in_inference_mode_serves_too(llava, batches):
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    masks = atv.prune(copy.deepcopy(llava), batches, criterion="WandaPlusPlus").masks
    again = atv.prune(llava, batches, criterion="WandaPlusPlus", trainer=trainer).masks
    assert all(torch.equal(masks[name], again[name]) for name in masks)


def test_a_killed_run_goes_on(llava, batches, tmp_path):
    again = copy.deepcopy(llava)
    first = atv.prune(llava, batches, criterion="WandaPlusPlus", run_dir=tmp_path).masks
    (tmp_path / "blocks" / "002.json").unlink()
    second = atv.prune(again, batches, criterion="WandaPlusPlus", run_dir=tmp_path).masks
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(p.requires_grad and p.grad is None for p in again.parameters())


def test_what_has_no_gradient_is_refused(llava, batches):
    with pytest.raises(ValueError, match=r"criterion: WandaPlusPlus supports only Linears, but .* is an expert"):
        atv.prune(moe_llava("qwen3_moe"), batches, criterion="WandaPlusPlus")
    with pytest.raises(ValueError, match="scale: expected 0 or more, got -1"):
        atv.WandaPlusPlus(-1)
    with pytest.raises(ValueError, match="WandaPlusPlus needs the pool's gradient, which was not gathered"):
        atv.WandaPlusPlus().score(torch.ones(2, 2), atv.PoolStatistics(torch.ones(2)))
    gate = llava.model.language_model.layers[2].mlp
    given = gate.forward
    gate.forward = lambda x: gate.down_proj(gate.act_fn(gate.gate_proj(x)) * gate.up_proj(x).mul_(1))
    with pytest.raises(ValueError, match=r"block 2 \(LlamaDecoderLayer\) overwrites the output of .*up_proj;"):
        atv.prune(llava, batches, criterion="WandaPlusPlus")
    gate.forward = given
    forward = llava.model.language_model.layers[1].mlp.forward
    llava.model.language_model.layers[1].mlp.forward = lambda x: torch.from_numpy(forward(x).numpy())
    with pytest.raises(ValueError, match=r"calibration: block 1 \(LlamaDecoderLayer\) cannot be run backward, .*numpy"):
        atv.prune(llava, batches, criterion="WandaPlusPlus")


def test_scores():
    weight = torch.tensor([[1.0, -2.0], [-3.0, 4.0]], dtype=torch.bfloat16)
    pool = atv.PoolStatistics(torch.tensor([10.0, 0.5]))
    assert atv.Magnitude().score(weight, pool).tolist() == [[1, 2], [3, 4]]
    assert atv.Wanda().score(weight, pool).tolist() == [[10, 1], [30, 2]]
    assert atv.Wanda().score(weight, pool).dtype == torch.float32


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_follows_the_formula(power):
    rng = np.random.default_rng(0)
    weight, norm = rng.normal(size=(5, 7)), rng.random(7)
    weight[2], weight[:, 3] = 0, 0
    size = np.abs(weight)
    expected = np.zeros_like(size)
    for i, j in np.argwhere(size > 0):
        expected[i, j] = (size[i, j] / size[i].sum() + size[i, j] / size[:, j].sum()) * norm[j] ** power
    pool = atv.PoolStatistics(torch.tensor(norm, dtype=torch.float32))
    score = atv.RIA(power).score(torch.tensor(weight, dtype=torch.float32), pool)
    assert np.allclose(score.numpy(), expected, rtol=1e-5)


def test_the_scale_of_the_whole_weight_does_not_matter():
    weight, pool = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)), atv.PoolStatistics(torch.ones(6))
    assert torch.allclose(atv.RIA().score(weight, pool), atv.RIA().score(8 * weight, pool))
