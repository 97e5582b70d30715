import copy

import pytest
import torch
from helpers.moe import TEXTS, ernie, ernie_batch, layers, moe_llava
from helpers.tiny import make_batch, random_llava

import atv
from atv.model.lvlm import LVLM
from atv.pathways import DecoupledExperts, decouple_target, route

DENSE = atv.Pathway("AllTokens", sparsity=0.0)
pytestmark = pytest.mark.filterwarnings("ignore:block .* fewer than")
every_kind = pytest.mark.parametrize("kind", list(TEXTS))
# The same holds without experts.
any_kind = pytest.mark.parametrize("kind", ["llama", *TEXTS])


def made(kind):
    return random_llava() if kind == "llama" else moe_llava(kind)


def decoupled(dense, masks):
    """Every target of the decoder decoupled, ``masks`` maps its name to (text, visual)."""
    model = copy.deepcopy(dense)
    lvlm = LVLM.of(model)
    route(lvlm)
    for name, target in lvlm.prunable.items():
        decouple_target(model, name, target, *map(atv.Pruned, masks(name, target)))
    assert all(isinstance(module.experts, DecoupledExperts) for module in layers(model).values())
    return model


@torch.no_grad()
@any_kind
def test_full_masks_are_the_dense_model_exactly(kind, batches):
    dense = made(kind)
    full = decoupled(dense, lambda _, target: [torch.ones_like(target.weight, dtype=torch.bool)] * 2)
    for batch in batches:
        assert torch.equal(full(**batch).logits, dense(**batch).logits)


@torch.no_grad()
@any_kind
def test_equal_masks_are_the_pruned_model_exactly(kind, batches):
    dense, pruned = made(kind), made(kind)
    masks = atv.prune(pruned, batches).masks
    both = decoupled(dense, lambda name, _: [masks[name]] * 2)
    for batch in batches:
        assert torch.equal(both(**batch).logits, pruned(**batch).logits)
        assert torch.equal(both.generate(**batch, max_new_tokens=4), pruned.generate(**batch, max_new_tokens=4))


@torch.no_grad()
@every_kind
def test_a_visual_pathway_leaves_text_only_forwards_alone(kind, batches):
    model, dense = moe_llava(kind), moe_llava(kind)
    report = atv.decouple(
        model, batches, text=DENSE, visual=atv.Pathway("VisualOnly", sparsity=0.9), targets=["*.experts.*"]
    )
    assert {name.rsplit(".", 1)[-1] for name in report.pathways["visual"].masks} == {"gate_up_proj", "down_proj"}
    assert set(report.blocks[0].experts) == {"text", "visual"}
    text_only = make_batch([5, 9], 4, images=False)
    assert torch.equal(model(**text_only).logits, dense(**text_only).logits)
    assert not torch.equal(model(**batches[0]).logits, dense(**batches[0]).logits)


@any_kind
def test_masks_equal_those_of_ordinary_pruning_in_one_shot(kind, batches):
    ordinary = atv.prune(made(kind), batches, selection="TextOnly", propagate=False)
    text = atv.Pathway("TextOnly")
    report = atv.decouple(made(kind), batches, text=text, visual=DENSE, propagate=False)
    assert all(torch.equal(ordinary.masks[n], report.pathways["text"].masks[n]) for n in ordinary.masks)


@torch.no_grad()
def test_experts_of_one_modality_are_a_pathway_already():
    model, dense, batches = ernie(), ernie(), [ernie_batch([30, 40], 1), ernie_batch([35], 2)]
    report = atv.decouple(model, batches, text=DENSE, visual=atv.Pathway("VisualOnly"), targets=["*.experts.*"])
    weights, before = model.state_dict(), dense.state_dict()
    assert {n.split(".")[5] for n in weights if not torch.equal(weights[n], before[n])} == {"vision_moe"}
    name = "model.language_model.layers.1.mlp.vision_moe.experts"
    mask = report.pathways["visual"].masks[f"{name}.3.down_proj"]
    assert torch.equal(weights[f"{name}.down_proj"][3], before[f"{name}.down_proj"][3] * mask)
    text_only = ernie_batch([5, 9], 4, images=False)
    assert torch.equal(model(**text_only).logits, dense(**text_only).logits)
