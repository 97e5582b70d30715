import copy
import json
import shutil

import numpy as np
import pytest
import torch
from helpers.moe import ernie, moe_llava
from helpers.pruned_folders import edit, save_pruned
from helpers.tiny import random_llava

import atv
from atv.model.lvlm import LVLM
from atv.records.masks import load_masks
from atv.verification.folder import sizes, verify
from atv.verification.saved_model import SavedModel, VerificationError, answer, opened

UP = "language_model.model.layers.1.mlp.up_proj.weight"
EMBEDDING = "language_model.model.embed_tokens.weight"
IN_MEMORY = "model.language_model.layers.1.mlp.up_proj"


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dense")
    random_llava().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A 2:4 folder that tests copy before they damage it."""
    from helpers.tiny import make_batch

    folder = tmp_path_factory.mktemp("written") / "sparse"
    save_pruned(random_llava(), [make_batch([5, 8], 1)], folder, pattern="2:4")
    return folder


@pytest.fixture
def sparse(written, tmp_path):
    return shutil.copytree(written, tmp_path / "sparse")


def verified(folder, base=None):
    return verify(folder, base, max_new_tokens=0)


@pytest.mark.parametrize(
    "options",
    [
        {"sparsity": 0.3},
        {"pattern": "4:8", "targets": ["mlp.up_proj", "mlp.gate_proj"]},
        {"criterion": "SparseGPT", "pattern": "2:4"},
        {"criterion": "SparseGPT", "sparsity": 0.37},
        {"refine": "SparseSwaps", "reconstruct": "LeastSquares", "pattern": "2:4"},
        {"allocation": "OWL", "pattern": "PerBlock"},
        {"pattern": "PerLayer", "sparsity": 0.7},
    ],
)
def test_what_prune_writes_is_what_it_says(dense, llava, batches, tmp_path, options):
    save_pruned(llava, batches, tmp_path, **options)
    found = verified(tmp_path, dense)
    assert "bit for bit" in found["base"] and "holds in every mask" in found["pattern"]
    assert ("updated" in found["base"]) == bool({"criterion", "reconstruct"} & options.keys())


@pytest.mark.filterwarnings("ignore:block .* fewer than")
@pytest.mark.parametrize("kind", ["qwen3_moe", "gpt_oss", "llama4_text"])
def test_experts_are_checked_one_by_one(kind, batches, tmp_path):
    """Fused in memory, one a file name or fused on disk, either way round."""
    model = moe_llava(kind)
    model.save_pretrained(tmp_path / "dense")
    save_pruned(model, batches, tmp_path / "sparse", targets=["*.[02].down_proj"])
    assert "kept weights of 2 are equal" in verified(tmp_path / "sparse", tmp_path / "dense")["base"]

    def change(tensors):
        for key, value in tensors.items():
            if ".layers.1." in key and key.endswith((".experts.down_proj", ".experts.1.down_proj.weight")):
                (value[1] if value.dim() == 3 else value)[0, 0] += 1

    edit(tmp_path / "sparse", change)
    with pytest.raises(VerificationError, match=r"layers.1.\w+.experts.1.down_proj differs from the base"):
        verified(tmp_path / "sparse", tmp_path / "dense")


@pytest.mark.parametrize("criterion", ["Wanda", "SparseGPT"])
def test_a_base_model_that_is_itself_pruned_is_refused_by_name(dense, llava, batches, tmp_path, criterion):
    folder, other = tmp_path / "sparse", tmp_path / "other"
    save_pruned(llava, batches, folder, criterion=criterion)
    shutil.copytree(folder, other)
    for base in (folder, other):
        with pytest.raises(VerificationError, match=f"^base: expected the dense model that was pruned, got '{base}'"):
            verified(folder, base)


def test_a_weight_that_came_back_is_named(sparse):
    mask = atv.load_masks(sparse / "masks.safetensors")[IN_MEMORY]
    row, column = (~mask).nonzero()[7].tolist()
    edit(sparse, lambda tensors: tensors[UP].__setitem__((row, column), 0.25))
    with pytest.raises(
        VerificationError, match=rf"{IN_MEMORY}: entry \({row}, {column}\) is 0.25, but the mask prunes"
    ):
        verified(sparse)


def test_a_kept_weight_that_went_is_named_without_a_base_model(sparse):
    row, column = atv.load_masks(sparse / "masks.safetensors")[IN_MEMORY].nonzero()[7].tolist()
    edit(sparse, lambda tensors: tensors[UP].__setitem__((row, column), 0))
    with pytest.raises(VerificationError, match=f"{IN_MEMORY}: 1 kept weights are zero, but 0 were when it was"):
        verified(sparse)


def test_a_kept_weight_that_changed_is_named(sparse, dense):
    row, column = atv.load_masks(sparse / "masks.safetensors")[IN_MEMORY].nonzero()[7].tolist()
    edit(sparse, lambda tensors: tensors[UP][row, column].mul_(1.001))
    verified(sparse)
    where = rf"{IN_MEMORY} differs from the base model's among the kept weights: first at entry \({row}, {column}\)"
    with pytest.raises(VerificationError, match=where):
        verified(sparse, dense)


def test_the_sign_of_a_zero_counts_outside_of_targets(sparse, dense, tmp_path):
    other = shutil.copytree(dense, tmp_path / "other")
    for folder, zero in ((sparse, 0.0), (other, -0.0)):
        edit(folder, lambda tensors, zero=zero: tensors[EMBEDDING].__setitem__((3, 4), zero))
    with pytest.raises(VerificationError, match=r"embed_tokens.weight differs from .* entry \(3, 4\)"):
        verified(sparse, other)


def test_other_tensors_equal_the_base_models_even_where_the_criterion_updates_weights(dense, llava, batches, tmp_path):
    save_pruned(llava, batches, tmp_path, criterion="SparseGPT")
    edit(tmp_path, lambda tensors: tensors["language_model.model.norm.weight"][3].add_(1))
    with pytest.raises(VerificationError, match=r"^model.language_model.norm.weight differs from the base model's"):
        verified(tmp_path, dense)


def test_fine_tuning_may_change_kept_weights_and_what_it_names_alone(sparse, dense):
    report = json.loads((sparse / "report.json").read_text())
    report["finetuning"] = {"train_also": ["*multi_modal_projector.linear_1.*"]}
    (sparse / "report.json").write_text(json.dumps(report))
    mask = atv.load_masks(sparse / "masks.safetensors")[IN_MEMORY]

    def train(tensors):
        tensors[UP].mul_(1.01)[mask] += 0.1
        tensors["multi_modal_projector.linear_1.bias"].add_(1)

    edit(sparse, train)
    assert "of 21 were fine-tuned" in verified(sparse, dense)["base"]
    edit(sparse, lambda tensors: tensors[UP].add_(0.1))
    with pytest.raises(VerificationError, match="but the mask prunes it"):
        verified(sparse, dense)
    edit(sparse, lambda tensors: tensors[UP].mul_(mask))
    edit(sparse, lambda tensors: tensors["multi_modal_projector.linear_2.bias"].add_(1))
    with pytest.raises(VerificationError, match=r"linear_2\.bias differs"):
        verified(sparse, dense)


def test_a_group_with_three_is_named(sparse):
    def keep_one_more(masks):
        packed = masks[IN_MEMORY]
        packed[5, 1] |= 0b11110000

    edit(sparse, keep_one_more, "masks.safetensors")
    with pytest.raises(
        VerificationError, match=rf"{IN_MEMORY}: the mask breaks NOfM\(n=2, m=4\) in row 5 at input 1[2-5]"
    ):
        verified(sparse)


def test_masks_of_other_targets_are_named(sparse):
    report = json.loads((sparse / "report.json").read_text())
    del report["targets"][IN_MEMORY]
    (sparse / "report.json").write_text(json.dumps(report))
    with pytest.raises(VerificationError, match=f"{IN_MEMORY} is only in the masks"):
        verified(sparse)


def test_a_tensor_that_is_gone_is_named(sparse):
    edit(sparse, lambda tensors: tensors.pop(UP))
    with pytest.raises(ValueError, match=rf"lacks 1 tensor of .*: {IN_MEMORY}.weight$"):
        verified(sparse)


def test_a_file_cut_short_is_an_error(sparse):
    file = sparse / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model.safetensors is not a complete safetensors file"):
        verified(sparse)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda model: model.model.vision_tower.to(torch.bfloat16),
            "vision_tower.* is bfloat16 .* in the base model, but fl",
        ),
        (lambda model: model.model.multi_modal_projector.linear_2.bias.data.add_(1), "projector.linear_2.bias differs"),
    ],
)
def test_a_base_model_that_does_not_match(sparse, tmp_path, change, message):
    other = copy.deepcopy(random_llava())
    change(other)
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(VerificationError, match=message):
        verified(sparse, tmp_path / "other")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            lambda: moe_llava("gpt_oss"),
            r"k_proj.weight is float32 \(16, 32\) in the base model, but float32 \(32, 32\) when",
        ),
        (ernie, "the pruned model is a LlavaFor.*, but the base model a Ernie4_5_VLMoeForConditionalGeneration"),
    ],
)
def test_a_base_model_of_another_kind(sparse, tmp_path, other, message):
    other().save_pretrained(tmp_path / "other")
    with pytest.raises(VerificationError, match=f"base: .*{message}"):
        verified(sparse, tmp_path / "other")


def test_a_folder_that_is_not_a_pruned_model(dense):
    with pytest.raises(ValueError, match=r"is not a pruned model: it has no masks\.safetensors, report\.json"):
        verified(dense)


def test_a_model_is_asked_in_its_own_dtype(bundled):
    model, processor = copy.deepcopy(bundled[0]).bfloat16(), bundled[1]
    shown = []
    model.model.vision_tower.register_forward_pre_hook(lambda _, given: shown.append(given[0].dtype))
    answer(SavedModel(LVLM.of(model)), processor, tokens=1)
    assert shown == [torch.bfloat16]


def test_code_of_a_base_model_of_the_hub_is_fetched_where_it_may_run(sparse, dense, monkeypatch):
    asked = []
    monkeypatch.setattr("atv.model.loading.fetch_model", lambda *given: asked.append(given) or dense)
    verify(sparse, "owner/name", max_new_tokens=0, trust_remote_code=True)
    assert asked == [("owner/name", True)]


def test_a_model_that_cannot_speak(sparse):
    from atv.bundled import BUNDLED_MODEL
    from atv.model.loading import load_processor

    load_processor(BUNDLED_MODEL).save_pretrained(sparse)
    with pytest.raises(VerificationError, match="the model does not generate: "):
        verify(sparse, max_new_tokens=2)


@pytest.mark.filterwarnings("ignore:block .* fewer than")
@pytest.mark.parametrize("make", [None, "qwen3_moe", "gpt_oss"])
def test_sizes_are_those_counted_by_hand(make, llava, batches, tmp_path):
    model = (llava if make is None else moe_llava(make)).to(torch.bfloat16)
    batches = [batch | {"pixel_values": batch["pixel_values"].bfloat16()} for batch in batches]
    save_pruned(model, batches, tmp_path, sparsity=0.6)
    masks = load_masks(tmp_path / "masks.safetensors")
    with opened(tmp_path) as saved:
        dense, compact = sizes(saved, masks)
    assert 0 <= (tmp_path / "model.safetensors").stat().st_size - dense < 20_000  # the file's header
    # 2 bytes a weight that is kept, a bit a weight of a target.
    bits = sum(rows * int(np.ceil(width / 8)) for rows, width in masks.shapes.values())
    assert compact == 2 * (model.num_parameters() - masks.pruned) + bits
    assert dense == 2 * model.num_parameters() > compact
