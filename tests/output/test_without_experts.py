"""Whole experts that went: which, where their tokens go, and what the saved model says without them."""

import copy

import pytest
import torch
from conformance.table import AROUND, around, build, usual_samples
from helpers.moe import layers, moe_llava
from helpers.pruned_folders import save_pruned
from helpers.tiny import IMAGE, never_read, random_llava, same_logits
from torch.nn import functional as F
from transformers import AutoModelForImageTextToText

import atv
from atv.model.experts import FusedExperts, leave_out
from atv.model.offload import load_offloaded
from atv.verification.folder import verify

pytestmark = pytest.mark.filterwarnings("ignore:block .* fewer than")
WHOLE = {"pattern": "WholeExperts", "criterion": "REAP", "selection": "AllTokens", "sparsity": 0.5}


def made(kind, batches):
    if kind == "mixtral":
        return around(kind, num_local_experts=4, num_experts_per_tok=2, sliding_window=None), AROUND.batches()
    return (moe_llava(kind), batches) if kind != "qwen3_vl_moe" else (build(kind), usual_samples(kind).batches())


def saliency(model, batches, whose):
    """By hand: layer -> expert -> mean of gate * ||expert(x)|| over its tokens of that kind; NaN for none."""
    found = {}
    model.requires_grad_(False)
    for name, moe in layers(model).items():
        seen, kinds = [], []
        handle = moe.experts.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args))
        with torch.no_grad():
            for batch in batches:
                model(**batch)
                valid, visual = batch["attention_mask"].bool(), batch["input_ids"] == IMAGE
                kinds.append({"AllTokens": valid, "TextOnly": valid & ~visual}[whose].flatten())
        handle.remove()
        found[name] = {}
        for expert in range(4):
            terms = []
            for (hidden, index, gates), kind in zip(seen, kinds, strict=True):
                for token in kind.nonzero().flatten().tolist():
                    for place in (index[token] == expert).nonzero().flatten().tolist():
                        gate, up = (moe.experts.gate_up_proj[expert] @ hidden[token]).chunk(2)
                        output = moe.experts.down_proj[expert] @ (F.silu(gate) * up)
                        terms.append(float(gates[token, place] * output.norm()))
            found[name][expert] = sum(terms) / len(terms) if terms else float("nan")
    return found


@pytest.mark.parametrize("whose", ["AllTokens", "TextOnly"])
def test_the_experts_that_add_least_to_the_tokens_of_the_pool_go(batches, whose):
    model = moe_llava("qwen3_moe")
    expected = saliency(model, batches, whose)
    report = atv.prune(model, batches, **WHOLE | {"selection": whose, "propagate": False})
    for name, by_expert in expected.items():
        gone = {e for e in range(4) if not report.masks[f"{name}.experts.{e}.down_proj"].any()}
        assert gone == set(sorted(by_expert, key=by_expert.get)[:2]), by_expert
        assert gone == {e for e in range(4) if not report.masks[f"{name}.experts.{e}.gate_up_proj"].any()}


def test_an_expert_that_no_token_is_given_to_goes_first(batches):
    model = moe_llava("qwen3_moe")
    for moe in layers(model).values():
        leave_out(moe.gate, 2)
    options = WHOLE | {"criterion": "Wanda", "sparsity": 0.25}
    message = r"expert 2 \(0 tokens\) of .*; nothing replaces their statistics, because experts compete"
    with pytest.warns(UserWarning, match=message):
        report = atv.prune(model, batches, **options)
    assert all(mask.any() == (name.split(".")[-2] != "2") for name, mask in report.masks.items())


@pytest.mark.parametrize(
    "kind", ["gpt_oss", pytest.param("mixtral", marks=pytest.mark.slow), "qwen3_moe", "qwen3_vl_moe"]
)
def test_the_smaller_model_says_what_the_masked_one_says(kind, batches, tmp_path):
    model, batches = made(kind, batches)
    # Saving a model notes things in its config.
    dense = copy.deepcopy(model)
    copy.deepcopy(model).save_pretrained(tmp_path / "dense")
    report = save_pruned(model, batches, tmp_path / "sparse", **WHOLE)
    assert report.smaller == {"num_experts": [4, 2]} and report.sparsity == 0.5
    smaller = AutoModelForImageTextToText.from_pretrained(tmp_path / "sparse").eval()
    assert all(len(moe.experts.down_proj) == 2 for moe in layers(smaller).values())
    again = copy.deepcopy(dense)
    atv.prune(again, batches, run_dir=tmp_path / "sparse", **WHOLE)
    with torch.no_grad():
        for batch in batches:
            expected = model(**batch).logits
            assert not torch.allclose(dense(**batch).logits, expected, rtol=1e-3)
            assert torch.equal(again(**batch).logits, expected)
    assert same_logits(smaller, model, batches)
    assert "bit for bit" in verify(tmp_path / "sparse", tmp_path / "dense", max_new_tokens=0)["base"]


def test_the_fused_output_of_an_expert_is_its_last_projection():
    model = moe_llava("gpt_oss")
    layer = FusedExperts.of("experts", next(iter(layers(model).values())).experts)
    x = torch.randn(3, 24, generator=torch.Generator().manual_seed(0))
    expected = x @ layer.module.down_proj[1] + layer.module.down_proj_bias[1]
    assert torch.allclose(layer.project("down_proj", x, 1), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (random_llava, {}, "experts of the decoder type llama cannot be removed; types .* gpt_oss, mixtral, qwen3_moe"),
        (lambda: moe_llava("llama4_text"), {}, "experts of the decoder type llama4_text cannot be removed"),
        (lambda: moe_llava("qwen3_moe"), {"sparsity": 0.75}, "leaves 1 of 4 experts, but every token uses 2"),
        (lambda: moe_llava("qwen3_moe"), {"sparsity": 0.2}, "sparsity: 0.2 of 4 experts is none"),
        (lambda: moe_llava("qwen3_moe"), {"allocation": "AlphaPruning"}, "same number of experts .* choose Uniform"),
        (
            lambda: moe_llava("qwen3_moe"),
            {"pattern": "unstructured"},
            "REAP scores whole experts, but Unstructured rem",
        ),
    ],
    ids=["dense", "llama4", "too few", "none", "allocation", "pattern"],
)
def test_what_cannot_be_is_refused_before_a_sample_is_read(model, options, message):
    with pytest.raises(ValueError, match=message):
        atv.prune(model(), never_read(), **WHOLE | options)


def test_pathways_share_a_router(batches):
    pathway = atv.Pathway("AllTokens", 0.5, pattern="WholeExperts")
    message = "WholeExperts sends tokens to different experts, but decoupled pathways share"
    with pytest.raises(ValueError, match=message):
        atv.decouple(moe_llava("qwen3_moe"), batches, text=pathway, visual=pathway)


def test_routers_that_are_fetched_anew_are_refused(tmp_path):
    moe_llava("qwen3_moe").save_pretrained(tmp_path / "dense")
    model = load_offloaded(tmp_path / "dense", "disk", torch.device("cpu"), tmp_path / ".offload")
    with pytest.raises(ValueError, match="WholeExperts does not support offloaded models: a router"):
        atv.prune(model, never_read(), run_dir=tmp_path / "out", **WHOLE)
