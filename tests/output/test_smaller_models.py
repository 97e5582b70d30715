"""Structures that went whole: the saved model is an ordinary smaller one, and says the same."""

import copy

import pytest
import torch
from conformance.table import AROUND, around, build, usual_samples
from helpers.moe import moe_llava
from helpers.pruned_folders import save_pruned
from helpers.tiny import never_read, random_llava, same_logits
from transformers import AutoModelForImageTextToText

import atv
from atv.model.offload import load_offloaded
from atv.verification.folder import verify

PATTERNS = {"channels": atv.FFNChannels(8), "heads": atv.AttentionHeads()}
DOWN = "model.language_model.layers.1.mlp.down_proj"
# LVLM types, and decoders as the language model of a LLaVA.
TYPES = ["gemma3", "internvl", "mistral3", "paligemma", "qwen2_vl", "qwen2_5_vl", "qwen3_vl"]
DECODERS = {"gemma": {}, "gemma2": {}, "llama": {"attention_bias": True, "mlp_bias": True}, "qwen3": {}}
# Their heads are as wide as the hidden size divided by the number of heads.
HIDDEN_BY_HEADS = ["qwen2_vl", "qwen2_5_vl"]
QUICK = ["gemma3", "llama", "qwen3_vl"]
CASES = [
    pytest.param(kind, pattern, marks=() if kind in QUICK else pytest.mark.slow)
    for kind in [*TYPES, *DECODERS]
    for pattern in PATTERNS
    if kind not in HIDDEN_BY_HEADS or pattern == "channels"
]


def made(kind):
    if kind in DECODERS:
        return around(kind, **DECODERS[kind]), AROUND.batches()
    return build(kind), usual_samples(kind).batches()


@pytest.mark.parametrize(("kind", "pattern"), CASES)
def test_the_smaller_model_says_what_the_masked_one_says(kind, pattern, tmp_path):
    model, batches = made(kind)
    before = model.num_parameters()
    report = save_pruned(model, batches, tmp_path, pattern=PATTERNS[pattern], sparsity=0.5)
    smaller = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    decoder = smaller.config.get_text_config()
    if pattern == "channels":
        assert report.smaller == {"intermediate_size": [48, 24]} and decoder.intermediate_size == 24
    else:
        heads = (decoder.num_key_value_heads, decoder.num_attention_heads, decoder.head_dim)
        assert heads == (1, 2, 8) and report.smaller == {"num_key_value_heads": [2, 1], "num_attention_heads": [4, 2]}
    # Biases come on top.
    assert 0 <= before - smaller.num_parameters() - report.masks.pruned <= 2 * 2 * 48
    assert same_logits(smaller, model, batches)


class Noted(atv.Wanda):
    """Wanda; keeps each weight and X^T X."""

    needs_gram = True
    updates_weights = False
    seen: dict = {}

    def prune(self, weight, pool, pattern, sparsity, mask=None):
        Noted.seen[weight.data_ptr()] = weight.double(), pool.gram
        return super().prune(weight, pool, pattern, sparsity, mask)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_reads_the_structure_makes_up_for_it(llava, batches, tmp_path, pattern):
    """The reader's kept columns solve the damped normal equations, all other Linears keep their bits."""
    Noted.seen = {}
    names = {module.weight.data_ptr(): name for name, module in llava.named_modules() if hasattr(module, "weight")}
    dense = copy.deepcopy(llava).state_dict()
    options = {"pattern": PATTERNS[pattern], "reconstruct": atv.LeastSquares(tolerance=1e-9), "sparsity": 0.5}
    report = save_pruned(llava, batches, tmp_path, criterion=Noted(), propagate=False, **options)
    for pointer, (weight, gram) in Noted.seen.items():
        name = names[pointer]
        mask, now = report.masks[name], llava.get_submodule(name).weight.detach().double()
        if not name.endswith(("down_proj", "o_proj")):
            assert torch.equal(now[mask], dense[f"{name}.weight"].double()[mask])
            continue
        hessian = gram + 0.01 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        kept = mask[0]
        solved = torch.linalg.solve(hessian[kept][:, kept], (hessian @ weight.T)[kept]).T
        assert torch.allclose(now[:, kept], solved, atol=1e-4 * float(solved.abs().max()))
        assert not torch.allclose(now[:, kept], weight[:, kept], rtol=1e-2)
    assert same_logits(AutoModelForImageTextToText.from_pretrained(tmp_path).eval(), llava, batches)


def test_blocks_that_keep_fewer_are_filled_up_with_zeros(llava, batches, tmp_path):
    class LaterMore(atv.Allocation):
        by_block = True

        def allocate(self, linears, sparsity, dense):
            return {name: sparsity + 0.25 * (dense.block_of[name] - 1) for name in linears}

    report = save_pruned(llava, batches, tmp_path, pattern=atv.FFNChannels(4), sparsity=0.5, allocation=LaterMore())
    left = [int(report.masks[DOWN.replace(".1.", f".{block}.")].any(0).sum()) for block in range(3)]
    assert left == [36, 24, 12] and report.smaller == {"intermediate_size": [48, 36]}
    smaller = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    assert same_logits(smaller, llava, batches)
    assert int((smaller.get_submodule(DOWN).weight != 0).any(0).sum()) == 24
    verify(tmp_path, max_new_tokens=0)


def test_a_killed_run_goes_on_and_a_finished_one_gives_its_weights_back(llava, batches, tmp_path):
    options = {"pattern": atv.FFNChannels(8), "reconstruct": "LeastSquares"}
    resumed, finished = copy.deepcopy(llava), copy.deepcopy(llava)
    atv.prune(llava, batches, run_dir=tmp_path, **options)
    (tmp_path / "blocks" / "002.json").unlink()
    atv.save(tmp_path, resumed, None, atv.prune(resumed, batches, run_dir=tmp_path, **options))
    again = atv.prune(finished, batches, run_dir=tmp_path, **options)
    assert again.smaller == {"intermediate_size": [48, 24]}
    for name, tensor in llava.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]) and torch.equal(tensor, finished.state_dict()[name])


def test_an_offloaded_models_shards_are_cut(batches, tmp_path):
    random_llava().save_pretrained(tmp_path / "dense")
    model = load_offloaded(tmp_path / "dense", "disk", torch.device("cpu"), tmp_path / "sparse" / ".offload")
    whole, options = random_llava(), {"pattern": atv.AttentionHeads(), "sparsity": 0.5}
    save_pruned(model, batches, tmp_path / "sparse", **options)
    save_pruned(whole, batches, tmp_path / "whole", **options)
    names = sorted(file.name for file in (tmp_path / "sparse").glob("model-block*"))
    assert names == [f"model-block-{block:05d}-smaller.safetensors" for block in range(3)]
    ours, theirs = (AutoModelForImageTextToText.from_pretrained(tmp_path / name) for name in ("sparse", "whole"))
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
    verify(tmp_path / "sparse", tmp_path / "dense", max_new_tokens=0)


def test_pathways_lose_structures_of_their_own_by_masks_alone(llava, batches):
    text, visual = (atv.Pathway(rule, 0.5, pattern=atv.FFNChannels(8)) for rule in ("TextOnly", "VisualOnly"))
    report = atv.decouple(llava, batches, text=text, visual=visual)
    gone = {name: ~pathway.masks[DOWN].any(0) for name, pathway in report.pathways.items()}
    assert gone["text"].sum() == gone["visual"].sum() == 24 and not torch.equal(gone["text"], gone["visual"])
    assert all(name.split(".")[-2] == "mlp" for name in report.pathways["text"].masks) and not report.smaller


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            lambda: build("cohere2_vision"),
            {"pattern": "FFNChannels"},
            "FFN channels of the decoder type cohere2 cannot be removed; types .* gemma, gemma2",
        ),
        (
            lambda: moe_llava("qwen3_moe"),
            {"pattern": "FFNChannels"},
            "FFN channels of the decoder type qwen3_moe cannot be removed",
        ),
        (
            lambda: build("qwen2_5_vl"),
            {"pattern": "AttentionHeads"},
            "a Qwen2_5_VLForConditionalGeneration with num_key_value_heads 1, num_attention_heads 2, head_dim 8 has .*"
            r"q_proj.weight of shape \[32, 32\], but \[16, 32\] remains",
        ),
        (
            random_llava,
            {"pattern": "AttentionHeads", "sparsity": 0.25},
            r"sparsity: 0.25 leaves 3 of 4 key-value heads, which the model's config does not allow \(.*hidden size "
            r"\(32\) is not a multiple .* heads \(3\)\.\); possible numbers: 1, 2, 4$",
        ),
        (
            random_llava,
            {"pattern": atv.FFNChannels(64), "sparsity": 0.1},
            "sparsity: 0.1 of 48 FFN channels is none after FFNChannels's rounding; choose a higher sparsity",
        ),
        (
            random_llava,
            {"pattern": "FFNChannels", "targets": ["*.0.mlp.*"]},
            "targets: FFNChannels removes FFN channels from all blocks alike, but these targets leave out "
            r".*layers\.1\.mlp",
        ),
        (
            random_llava,
            {"pattern": "FFNChannels", "allocation": "DAS"},
            "DAS sets the sparsity of each Linear, but under the pattern FFNChannels the Linears of a block compete",
        ),
        (
            random_llava,
            {"pattern": "FFNChannels", "refine": "SparseSwaps"},
            "SparseSwaps moves zeros, but the pattern FFNChannels does not say where they may go",
        ),
    ],
    ids=["type", "mixture", "heads of the hidden size", "heads", "rounding", "targets", "allocation", "refine"],
)
def test_what_cannot_be_is_refused_before_a_sample_is_read(model, options, message):
    with pytest.raises(ValueError, match=message):
        atv.prune(model(), never_read(), **{"sparsity": 0.5} | options)
