"""Whole blocks that went: which, and what the saved model says without them."""

import copy

import pytest
import torch
from conformance.table import build, usual_samples
from helpers.moe import moe_llava
from helpers.pruned_folders import edit, save_pruned
from helpers.tiny import IMAGE, never_read, random_llava, same_logits
from transformers import AutoModelForImageTextToText

import atv
from atv.model.lvlm import LVLM
from atv.model.offload import load_offloaded
from atv.output.report_masks import masks_of
from atv.records.pruning_report import PruningReport
from atv.verification.folder import verify
from atv.verification.saved_model import VerificationError

WHOLE = {"pattern": "WholeBlocks", "allocation": "BlockInfluence"}


def influences(model, batches, whose):
    """By hand: block -> mean of 1 - cos(input, output) over the tokens of that kind."""
    terms = [[] for _ in model.get_decoder().layers]
    hooks = [
        layer.register_forward_hook(
            lambda _, args, out, seen=seen: seen.append((args[0], out if torch.is_tensor(out) else out[0]))
        )
        for layer, seen in zip(model.get_decoder().layers, terms, strict=True)
    ]
    kinds = []
    with torch.no_grad():
        for batch in batches:
            model(**batch)
            valid, visual = batch["attention_mask"].bool(), batch["input_ids"] == IMAGE
            kinds.append({"all": valid, "text": valid & ~visual, "visual": visual}[whose])
    for hook in hooks:
        hook.remove()
    drifts = [
        torch.cat([1 - torch.cosine_similarity(x, y, -1)[kind] for (x, y), kind in zip(seen, kinds, strict=True)])
        for seen in terms
    ]
    return [float(drift.double().mean()) for drift in drifts]


@pytest.mark.parametrize("whose", ["all", "text", "visual"])
def test_the_block_that_moves_its_tokens_least_goes(llava, batches, whose):
    with torch.no_grad():
        # One block moves text least, another pictures.
        for block, scale in enumerate((1.0, 0.2, 0.6)):
            for name in ("self_attn.o_proj", "mlp.down_proj"):
                llava.get_decoder().layers[block].get_submodule(name).weight.mul_(scale)
    expected = influences(llava, batches, whose)
    allocation = atv.BlockInfluence(whose)
    report = atv.prune(llava, batches, pattern="WholeBlocks", allocation=allocation, sparsity=0.34)
    gone = {int(name.split(".")[3]) for name, mask in report.masks.items() if not mask.any()}
    assert gone == {expected.index(min(expected))} and all(mask.any() == mask.all() for mask in report.masks.values())
    assert report.smaller == {"num_hidden_layers": [3, 2]} and report.sparsity == pytest.approx(1 / 3)


@pytest.mark.parametrize("criterion", ["ADMM", "ALPS"])
def test_criteria_that_move_weights_lose_the_same_block(llava, batches, criterion):
    options = WHOLE | {"sparsity": 0.34}
    expected = atv.prune(copy.deepcopy(llava), batches, **options).masks
    masks = atv.prune(llava, batches, criterion=criterion, **options).masks
    assert all(torch.equal(masks[name], mask) for name, mask in expected.items())


@pytest.mark.parametrize(
    "kind",
    ["gemma3", "internvl", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("llava_next", "qwen2_5_vl"))],
)
def test_the_smaller_model_says_what_the_masked_one_says(kind, tmp_path):
    model, batches = build(kind), usual_samples(kind).batches()
    report = save_pruned(model, batches, tmp_path, sparsity=0.5, **WHOLE)
    smaller = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    (kept,) = [block for block in range(2) if any(m.any() for n, m in report.masks.items() if f"layers.{block}." in n)]
    types = getattr(model.config.get_text_config(), "layer_types", None)
    assert len(smaller.get_decoder().layers) == smaller.config.get_text_config().num_hidden_layers == 1
    assert types is None or smaller.config.get_text_config().layer_types == [types[kept]]
    assert same_logits(smaller, model, batches)


def test_a_folder_without_a_block_is_verified_saved_again_and_gives_its_weights_back(llava, batches, tmp_path):
    random_llava().save_pretrained(tmp_path / "dense")
    finished = copy.deepcopy(llava)
    report = save_pruned(llava, batches, tmp_path / "sparse", sparsity=0.34, **WHOLE)
    assert "bit for bit" in verify(tmp_path / "sparse", tmp_path / "dense", max_new_tokens=0)["base"]
    atv.prune(finished, batches, run_dir=tmp_path / "sparse", sparsity=0.34, **WHOLE)
    assert all(torch.equal(value, finished.state_dict()[name]) for name, value in llava.state_dict().items())
    smaller = AutoModelForImageTextToText.from_pretrained(tmp_path / "sparse")
    assert masks_of(report, LVLM.of(smaller)).sparsity == 0
    again = atv.save(tmp_path / "again", smaller, None, PruningReport.read(tmp_path / "sparse"))
    assert again.targets == report.targets and len(again.targets) == 21
    edit(tmp_path / "again", lambda tensors: tensors["language_model.model.layers.1.mlp.up_proj.weight"][2, 3].add_(1))
    with pytest.raises(VerificationError, match=r"layers.1.mlp.up_proj differs from .* first at entry \(2, 3\)"):
        verify(tmp_path / "again", tmp_path / "dense", max_new_tokens=0)


def test_an_offloaded_model_loses_its_block_as_a_whole_one_does(batches, tmp_path):
    random_llava().save_pretrained(tmp_path / "dense")
    model = load_offloaded(tmp_path / "dense", "disk", torch.device("cpu"), tmp_path / "sparse" / ".offload")
    for name, dense in (("sparse", model), ("whole", random_llava())):
        save_pruned(dense, batches, tmp_path / name, sparsity=0.34, **WHOLE)
    assert len(list((tmp_path / "sparse").glob("model-block*"))) == 2
    ours, theirs = (AutoModelForImageTextToText.from_pretrained(tmp_path / name) for name in ("sparse", "whole"))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
    verify(tmp_path / "sparse", tmp_path / "dense", max_new_tokens=0)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (random_llava, {"allocation": "Uniform"}, "removes whole blocks, but Uniform does not choose blocks"),
        (random_llava, {"sparsity": 0.3}, "sparsity: 0.3 of 3 blocks is none"),
        (
            random_llava,
            {"targets": ["mlp.*"]},
            "WholeBlocks removes whole blocks, but these targets leave out .*q_proj",
        ),
        (lambda: build("qwen3_vl"), {}, "blocks of qwen3_vl_text cannot be removed, because picture features enter"),
        (lambda: moe_llava("qwen3_moe"), {}, "supports only Linears|blocks of the decoder type qwen3_moe cannot be"),
    ],
    ids=["allocation", "sparsity", "targets", "placed", "mixture"],
)
def test_what_cannot_be_is_refused_before_a_sample_is_read(model, options, message):
    with pytest.raises(ValueError, match=message):
        atv.prune(model(), never_read(), **WHOLE | {"sparsity": 0.5} | options)
