import copy
from dataclasses import replace

import pytest
import torch
from helpers.moe import moe_llava
from helpers.tuning import SETTINGS, answers, pruned
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, AdamW
from transformers import get_cosine_schedule_with_warmup

from atv.finetuning.fit_trainer import training_trainer
from atv.finetuning.objectives import AnswerLoss
from atv.finetuning.sites import pruned_sites, still_zero
from atv.finetuning.training_run import finish, fit, prepare
from atv.finetuning.updates import merge, train_kept, train_low_rank
from atv.model.lvlm import LVLM

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}


def tuned(model, folder, **changed):
    """The model pruned, and the same after eight steps: (masks, before, after)."""
    settings = replace(SETTINGS, **changed)
    lvlm = LVLM.of(model)
    masks = pruned(lvlm)
    before = copy.deepcopy(model)
    after = copy.deepcopy(model)
    prepare(lvlm, masks, settings)
    outcome = fit(
        lvlm, AnswerLoss(), settings, answers(8), None, training_trainer(folder, 100, None, QUIET), folder / "none"
    )
    finish(LVLM.of(after), masks, settings, outcome.weights)
    return masks, before, after


def masked_by_hand(model, masks, steps):
    """Ordinary training of the pruned Linears' weights; gradients and weights are multiplied by the masks."""
    for parameter in model.requires_grad_(False).parameters():
        parameter.grad = None
    weights = {name: model.get_submodule(name).weight.requires_grad_(True) for name in masks}
    optimizer = AdamW(weights.values(), lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1)
    schedule = get_cosine_schedule_with_warmup(optimizer, round(0.25 * steps), steps)
    for batch in answers(steps):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        for name, weight in weights.items():
            weight.grad *= masks[name]
        clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        schedule.step()
        for name, weight in weights.items():
            weight.data *= masks[name]


def test_zeros_stay_and_kept_weights_move_as_in_training_by_hand(llava, tmp_path):
    masks, before, after = tuned(llava, tmp_path)
    expected = copy.deepcopy(before)
    masked_by_hand(expected, masks, steps=8)
    for name, parameter in after.named_parameters():
        old, mask = before.get_parameter(name), masks.get(name.removesuffix(".weight"))
        if mask is None:
            assert torch.equal(parameter, old), name
        else:
            assert not parameter[~mask].any()
            assert (parameter != old)[mask].float().mean() > 0.99
            torch.testing.assert_close(parameter, expected.get_parameter(name), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["qwen3_moe", "gpt_oss"])
@pytest.mark.parametrize("rank", [None, 2])
def test_zeros_of_fused_experts_stay_whichever_way_they_lie(kind, rank, tmp_path):
    masks, before, after = tuned(moe_llava(kind), tmp_path, lora_rank=rank)
    old, new = LVLM.of(before).prunable, LVLM.of(after).prunable
    assert any(".experts." in name for name in masks)
    for name, mask in masks.items():
        assert not new[name].weight[~mask].any()
        if name.endswith("gate_up_proj"):
            assert (new[name].weight != old[name].weight)[mask].any()
    assert torch.equal(after.lm_head.weight, before.lm_head.weight)


def test_momentum_and_weight_decay_of_sgd_leave_zeros_alone(llava):
    lvlm = LVLM.of(llava)
    masks = pruned(lvlm)
    prepare(lvlm, masks, SETTINGS)
    trained = [parameter for parameter in llava.parameters() if parameter.requires_grad]
    optimizer = SGD(trained, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1)
    for batch in answers(3):
        llava(**batch).loss.backward()
        optimizer.step()
    sites = pruned_sites(LVLM.of(llava), {name: masks[name] for name in masks})
    still_zero(sites)


def test_a_gradient_that_is_not_a_number_does_not_reach_what_is_pruned(llava):
    lvlm = LVLM.of(llava)
    name = "model.language_model.layers.0.mlp.up_proj"
    mask = pruned(lvlm)[name]
    train_kept(pruned_sites(lvlm, {name: mask}))
    weight = lvlm.linears[name].weight
    (weight * float("nan")).sum().backward()
    grad = lvlm.linears[name].parametrizations.weight.original.grad
    assert grad[mask].isnan().all() and not grad[~mask].any()


def test_a_merged_adapter_computes_what_the_adapter_did(llava):
    lvlm = LVLM.of(llava)
    masks = pruned(lvlm)
    sites = pruned_sites(lvlm, masks)
    base = {name: lvlm.linears[name].weight.clone() for name in masks}
    train_low_rank(sites, rank=3, alpha=6.0)
    pairs = {}
    for name in masks:
        adapter = lvlm.linears[name].parametrizations.weight[0]
        torch.nn.init.normal_(adapter.up)
        pairs[name] = adapter.up.detach().clone(), adapter.down.detach().clone()
    batch = answers(1)[0]
    with torch.no_grad():
        expected = llava(**batch).logits
        merge(sites)
        assert torch.equal(llava(**batch).logits, expected)
    for name, (up, down) in pairs.items():
        torch.testing.assert_close(lvlm.linears[name].weight, base[name] + masks[name] * (up @ down) * 2)
    still_zero(sites)


def test_an_adapter_begins_as_nothing_and_is_all_that_is_trained(llava):
    lvlm = LVLM.of(llava)
    masks = pruned(lvlm)
    batch = answers(1)[0]
    before = llava(**batch).logits
    prepare(lvlm, masks, replace(SETTINGS, lora_rank=2))
    assert torch.equal(llava(**batch).logits, before)
    trained = {name.rsplit(".", 1)[-1] for name, p in llava.named_parameters() if p.requires_grad}
    assert trained == {"up", "down"}


def test_what_is_asked_for_is_trained_beside(llava, tmp_path):
    _, before, after = tuned(llava, tmp_path, train_also=("*multi_modal_projector*",))
    moved = {name for name, p in after.named_parameters() if not torch.equal(p, before.get_parameter(name))}
    assert any("multi_modal_projector" in name for name in moved)
    assert not any(
        "vision_tower" in name or "embed_tokens" in name or "layers.1.self_attn.q_proj" in name for name in moved
    )


def test_pruned_weights_among_what_is_asked_for_are_trained_by_their_adapters_alone(llava, tmp_path):
    masks, before, after = tuned(llava, tmp_path, lora_rank=2, train_also=("*language_model.layers.*",))
    for name, mask in masks.items():
        assert not after.get_parameter(f"{name}.weight")[~mask].any()
    moved = {name for name, p in after.named_parameters() if not torch.equal(p, before.get_parameter(name))}
    assert moved == {name for name, _ in before.named_parameters() if "language_model.layers." in name}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_also": ("*nothing*",)}, r"train_also: '\*nothing\*' matches no parameter"),
        ({"train_also": ("*.up_proj.*",), "lora_rank": 2}, r"'\*.up_proj.\*' matches no parameter besides the pruned"),
        ({"lora_rank": 33}, "lora_rank: expected 1 to 32, got 33"),
        ({"learning_rate": 0.0}, "learning_rate: expected more than 0"),
        ({"warmup": 1.0}, r"warmup: expected a share of all steps in \[0, 1\), got 1.0"),
    ],
)
def test_settings_that_do_not_fit_are_named(llava, changed, message):
    lvlm = LVLM.of(llava)
    with pytest.raises(ValueError, match=message):
        prepare(lvlm, pruned(lvlm), replace(SETTINGS, **changed))


def test_masks_of_another_model_are_refused(llava):
    lvlm = LVLM.of(llava)
    masks = pruned(lvlm)
    name = next(iter(masks))
    with pytest.raises(ValueError, match="'elsewhere', which is not a Linear"):
        pruned_sites(lvlm, {"elsewhere": masks[name]})
    with pytest.raises(ValueError, match="has shape"):
        pruned_sites(lvlm, {name: masks[name][:1]})
    lvlm.linears[name].weight.data.fill_(1)
    with pytest.raises(ValueError, match=f"{name}.weight: weights that the masks prune are not zero"):
        prepare(lvlm, masks, SETTINGS)
