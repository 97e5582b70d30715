import copy

import pytest
import torch
from helpers.tiny import IMAGE, make_batch
from torch import nn
from torch.nn import functional as F

import atv
from atv.calibration.pruning_callback import Pruning
from atv.model.lvlm import LVLM
from atv.pathways import DecoupledLinear, route
from atv.pathways.decoupled import visual_mask
from atv.runtime.trainer import quiet_trainer

DENSE = atv.Pathway("AllTokens", sparsity=0.0)


def decoupled(llava, masks):
    """Every Linear of the decoder replaced, ``masks`` maps its name to (text, visual)."""
    model = copy.deepcopy(llava)
    lvlm = LVLM.of(model)
    route(lvlm)
    for name, linear in lvlm.linears.items():
        model.set_submodule(name, DecoupledLinear(linear, *map(atv.Pruned, masks(name, linear))))
    return model


@torch.no_grad()
def test_both_products_and_a_choice_give_the_same_up_to_rounding(llava, batches):
    generator = torch.Generator().manual_seed(0)
    model = decoupled(llava, lambda _, linear: torch.rand(2, *linear.weight.shape, generator=generator) < 0.5)
    visual, compared = None, 0

    def compare(layer, args, result):
        nonlocal compared
        text, other = (F.linear(args[0], weight, layer.bias) for weight in (layer.text, layer.visual))
        torch.testing.assert_close(result, torch.where(visual[..., None], other, text), rtol=1e-5, atol=1e-5)
        compared += not torch.allclose(text, other)

    for module in model.modules():
        if isinstance(module, DecoupledLinear):
            module.register_forward_hook(compare)
    for batch in batches:
        visual = batch["input_ids"] == IMAGE
        model(**batch)
    assert compared == len(batches) * len(LVLM.of(llava).linears)


@torch.no_grad()
def test_tokens_take_their_own_pathway(llava):
    linear = torch.nn.Linear(4, 2)
    nothing, everything = torch.zeros(2, 4, dtype=torch.bool), torch.ones(2, 4, dtype=torch.bool)
    layer = DecoupledLinear(linear, atv.Pruned(nothing), atv.Pruned(everything))
    seen = []

    class Outer(torch.nn.Module):
        config = llava.config

        def forward(self, input_ids=None):
            seen.append(layer(x))

    x, outer = torch.randn(1, 3, 4), Outer()
    route(LVLM(outer, torch.nn.ModuleList(), "", (IMAGE,)))
    outer(input_ids=torch.tensor([[1, IMAGE, 2]]))
    expected = linear(x)
    expected[0, [0, 2]] = linear.bias
    assert torch.equal(seen[0], expected)
    with pytest.raises(RuntimeError, match="outside a forward"):
        layer(x)
    for ids in ([1, IMAGE], [1, 2]):
        with pytest.raises(ValueError, match="3 rows for 2 tokens"):
            outer(input_ids=torch.tensor([ids]))


def test_pathways_have_masks_of_their_own(llava, batches):
    dense = copy.deepcopy(llava)
    report = atv.decouple(
        llava, batches, text=atv.Pathway("TextOnly", sparsity=0.3), visual=atv.Pathway("VisualOnly", pattern="2:4")
    )
    assert report.masks == {}
    assert report.pathways["visual"].sparsity == 0.5
    assert 0.25 < report.pathways["text"].sparsity <= 0.3
    text_only = make_batch([5, 9], 4, images=False)
    with torch.no_grad():
        assert not torch.equal(llava(**text_only).logits, dense(**text_only).logits)


def test_pathways_are_pruned_in_mixed_precision(llava, batches):
    pathways = {"text": atv.Pathway("TextOnly", sparsity=0.3), "visual": atv.Pathway("VisualOnly", sparsity=0.5)}
    trainer = quiet_trainer(precision="bf16-mixed", enable_progress_bar=False)
    report = atv.decouple(llava, batches, **pathways, trainer=trainer)
    assert report.pathways["visual"].sparsity == 0.5
    with torch.no_grad():
        expected = llava(**batches[0]).logits
        with torch.autocast("cpu", torch.bfloat16):
            mixed = llava(**batches[0]).logits
    assert (mixed - expected).norm() < 0.05 * expected.norm()


def test_a_dense_text_pathway_leaves_text_only_forwards_alone(llava, batches):
    dense = copy.deepcopy(llava)
    atv.decouple(llava, batches, text=DENSE, visual=atv.Pathway("VisualOnly", sparsity=0.9))
    text_only = make_batch([5, 9], 4, images=False)
    with torch.no_grad():
        assert torch.equal(llava(**text_only).logits, dense(**text_only).logits)
        assert not torch.equal(llava(**batches[0]).logits, dense(**batches[0]).logits)


def test_o_proj_can_stay_shared(llava, batches):
    targets = ["[qkv]_proj", "*.mlp.*"]
    atv.decouple(llava, batches, text=DENSE, visual=atv.Pathway("VisualOnly"), targets=targets)
    kinds = {name.rsplit(".", 1)[-1] for name, m in llava.named_modules() if isinstance(m, DecoupledLinear)}
    assert "o_proj" not in kinds and len(kinds) == 6


def test_a_refused_call_leaves_the_model_without_hooks(llava, batches):
    pathways, embeds = {"text": DENSE, "visual": atv.Pathway("VisualOnly")}, torch.zeros(1, 4, 32)
    with pytest.raises(ValueError, match="there is no calibration batch"):
        atv.decouple(llava, [], **pathways)
    with torch.no_grad():
        llava(inputs_embeds=embeds)
    atv.decouple(llava, batches, **pathways)
    with pytest.raises(ValueError, match="inputs_embeds alone"):
        llava(inputs_embeds=embeds)


def test_a_call_that_fails_once_a_block_is_decoupled_keeps_it_running(llava, batches, monkeypatch):
    visual, finish = atv.Pathway("VisualOnly", sparsity=0.5), Pruning.finish

    def failing(self, block):
        if block:
            raise RuntimeError("no more")
        finish(self, block)

    monkeypatch.setattr(Pruning, "finish", failing)
    with pytest.raises(RuntimeError, match="no more"):
        atv.decouple(llava, batches, text=DENSE, visual=visual)
    with torch.no_grad():
        assert llava(**batches[0]).logits.isfinite().all()


def test_generated_image_ids_are_text_and_embeddings_alone_are_refused(llava):
    class Filled:
        def get_seq_length(self):
            return 4

    ids = torch.tensor([[IMAGE]])
    for name in ("cache", "past_key_values"):
        assert visual_mask(LVLM.of(llava), {"input_ids": ids, name: Filled()}) is None
    assert visual_mask(LVLM.of(llava), {"input_ids": ids}).all()
    with pytest.raises(ValueError, match="inputs_embeds alone"):
        visual_mask(LVLM.of(llava), {"inputs_embeds": torch.zeros(1, 1, 4)})


def test_a_decoupled_linear_tells_dtype_and_device_and_no_numbers():
    mask = torch.rand(3, 4) > 0.5
    linear = DecoupledLinear(nn.Linear(4, 3).to(torch.bfloat16), atv.Pruned(mask), atv.Pruned(~mask))
    assert (linear.weight.dtype, linear.weight.device.type) == (torch.bfloat16, "cpu")
    with pytest.raises(RuntimeError):
        nn.functional.linear(torch.ones(2, 4, dtype=torch.bfloat16), linear.weight)
