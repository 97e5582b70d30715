"""A pruned model comes back from its masks and a fresh base model, bit for bit; another base model is refused."""

import copy
import json
import shutil

import pytest
import torch
from helpers.moe import moe_llava
from helpers.pruned_folders import edit
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import atv
from atv.evaluation.identity import prompt_settings
from atv.model.loading import load_processor
from atv.model.lvlm import LVLM
from atv.output import pruned_folder
from atv.publishing import applying
from atv.publishing.applying import install, require_origin
from atv.publishing.packed_masks import DELTA_FORMAT, delta, patched, updates_of
from atv.records.digests import whole_digest
from atv.records.masks import masks_origin
from atv.verification.saved_model import SavedModel, opened

FROM_RUN = {"run.json", "allocation.json"}
TOKENIZER = {"tokenizer.json", "tokenizer_config.json"}


@pytest.fixture(scope="module")
def packed(tmp_path_factory, pruned):
    from atv.cli import main

    folder = tmp_path_factory.mktemp("packed") / "masks"
    assert main(["masks", "pack", str(pruned), "--base", "bundled", "--output", str(folder)]) == 0
    return folder


def test_the_folder_comes_back_file_by_file(pruned, packed, tmp_path):
    assert {file.name for file in packed.iterdir()} == {"masks.safetensors", "report.json", "README.md"}
    report = atv.apply_masks(packed, tmp_path / "again", "bundled")
    assert report.sparsity == pytest.approx(0.5)
    files = {file.name: file.read_bytes() for file in pruned.iterdir() if file.name not in FROM_RUN}
    again = {file.name: file.read_bytes() for file in (tmp_path / "again").iterdir()}
    # How the last batch was padded stays in a tokenizer's files.
    assert {name for name in files.keys() | again.keys() if files.get(name) != again.get(name)} <= TOKENIZER
    before, after = (load_processor(folder) for folder in (pruned, tmp_path / "again"))
    assert prompt_settings(before) == prompt_settings(after)


def test_a_shard_at_a_time_is_in_memory(pruned, packed, tmp_path, monkeypatch):
    written = []

    def noting(folder, model, *rest):
        written.append({weight.device.type for weight in model.parameters()})
        return pruned_folder.write_pruned(folder, model, *rest)

    monkeypatch.setattr(applying, "write_pruned", noting)
    monkeypatch.setattr(pruned_folder, "SHARD_BYTES", 1 << 20)
    atv.apply_masks(packed, tmp_path / "again", "bundled")
    assert written == [{"meta"}]
    shards = list((tmp_path / "again").glob("model-*.safetensors"))
    again = {name: value for shard in shards for name, value in load_file(shard).items()}
    expected = load_file(pruned / "model.safetensors")
    assert len(shards) > 2 and again.keys() == expected.keys()
    assert all(torch.equal(again[name], value) for name, value in expected.items())


def test_what_is_published_says_what_it_was_made_on(packed):
    origin = masks_origin(packed / "masks.safetensors")
    assert origin["model"] == "bundled" and origin["class"] == "LlavaForConditionalGeneration"
    assert origin["digest"] != origin["becomes"] and origin["digest"] in (packed / "README.md").read_text()
    masks = atv.load_masks(packed / "masks.safetensors")
    weights = sum(out * width for out, width in masks.shapes.values())
    assert (packed / "masks.safetensors").stat().st_size < weights / 8 * 1.05


def test_another_base_model_is_refused_by_name(pruned, packed, tmp_path):
    dense, processor = atv.load("bundled")
    dense.model.language_model.norm.weight.data[3] += 1e-3
    dense.save_pretrained(tmp_path / "other")
    processor.save_pretrained(tmp_path / "other")
    message = "other' is a different model: .*the masks were made on 'bundled', whose SHA-256 begins with"
    with pytest.raises(ValueError, match=message):
        atv.apply_masks(packed, tmp_path / "out", tmp_path / "other")
    with pytest.raises(ValueError, match=r"norm.weight differs from the base model's"):
        atv.pack_masks(pruned, tmp_path / "out", tmp_path / "other")


def test_the_pruned_model_is_not_its_own_base_model(pruned, tmp_path):
    with pytest.raises(ValueError, match=r"^base: expected the dense model that was pruned, got '.*sparse'"):
        atv.pack_masks(pruned, tmp_path / "out", pruned)


def test_a_mask_that_lost_a_bit_is_noticed(packed, tmp_path):
    folder = shutil.copytree(packed, tmp_path / "masks")

    def flip(tensors):
        next(iter(tensors.values()))[0, 0] ^= 1

    edit(folder, flip, "masks.safetensors")
    with pytest.raises(ValueError, match="does not restore the model it was packed from"):
        atv.apply_masks(folder, tmp_path / "out", "bundled")


def test_a_folder_without_an_origin_and_an_output_that_is_not_empty_are_refused(pruned, packed, tmp_path):
    with pytest.raises(ValueError, match="does not say which model its masks were made on; `atv masks pack`"):
        atv.apply_masks(pruned, tmp_path / "out", "bundled")
    with pytest.raises(ValueError, match=r"holds no published masks: it has no masks\.safetensors, report\.json"):
        atv.apply_masks(tmp_path, tmp_path / "out", "bundled")
    with pytest.raises(ValueError, match=r"output: .* is not empty"):
        atv.apply_masks(packed, pruned, "bundled")


@pytest.mark.slow
def test_another_processor_is_packed(pruned, packed, tmp_path):
    folder = shutil.copytree(pruned, tmp_path / "sparse")
    file = folder / "processor_config.json"
    changed = json.loads(file.read_text())
    changed["image_processor"]["rescale_factor"] = 0.5
    file.write_text(json.dumps(changed))
    files = atv.pack_masks(folder, tmp_path / "masks", "bundled")
    assert "processor/processor_config.json" in files
    atv.apply_masks(tmp_path / "masks", tmp_path / "again", "bundled")
    again = json.loads((tmp_path / "again" / "processor_config.json").read_text())
    assert again["image_processor"]["rescale_factor"] == 0.5


@pytest.mark.filterwarnings("ignore:block .* fewer than")
@pytest.mark.parametrize("kind", ["linears", "experts"])
def test_what_kept_weights_became_is_a_delta(kind, llava, batches, tmp_path):
    """As after SparseGPT, or fine-tuning with other weights trained along."""
    model = llava if kind == "linears" else moe_llava("llama4_text")
    dense = copy.deepcopy(model)
    options = {"criterion": "SparseGPT"} if kind == "linears" else {"targets": ["*.[02].down_proj"]}
    masks = atv.prune(model, batches, **options).masks
    model.model.multi_modal_projector.linear_1.bias.data += 0.125
    sparse, base = SavedModel(LVLM.of(model)), SavedModel(LVLM.of(dense))
    updates = updates_of(sparse, base, masks)
    assert any("projector" in name for name in updates) and (len(updates) == 22) == (kind == "linears")
    save_file(updates, tmp_path / "delta", {"format": DELTA_FORMAT})
    dense.save_pretrained(tmp_path / "dense")
    install(base, masks, tmp_path / "delta")
    expected = whole_digest(sparse.tensors, sparse.tensor)
    assert whole_digest(base.tensors, base.tensor) == expected
    with opened(tmp_path / "dense") as mapped:
        install(mapped, masks, tmp_path / "delta")
        assert whole_digest(mapped.tensors, mapped.tensor) == expected
    save_file(load_file(tmp_path / "delta"), tmp_path / "other", {"format": "x"})
    with pytest.raises(ValueError, match="expected format atv-delta/1, got 'x'"):
        install(base, masks, tmp_path / "other")
    save_file({"norm": torch.zeros(1)}, tmp_path / "strange", {"format": DELTA_FORMAT})
    with pytest.raises(ValueError, match="strange belongs to a different model: the base model has no norm"):
        install(base, masks, tmp_path / "strange")


def test_a_model_of_another_class_is_named(llava):
    origin = {"model": "a/b", "revision": "c0ffee", "class": "MllamaForConditionalGeneration", "digest": ""}
    with pytest.raises(ValueError, match=r"'x' is a Llava.*made on 'a/b' at revision c0ffee, a Mllama"):
        require_origin(SavedModel(LVLM.of(llava)), origin, "x")


def test_two_sets_of_masks_are_compared(tmp_path):
    one = {f"layers.{block}.{kind}": torch.rand(8, 12) > 0.5 for block in (0, 1) for kind in ("q_proj", "up_proj")}
    two = {name: mask.clone() for name, mask in one.items()}
    two["layers.1.up_proj"][:] = ~one["layers.1.up_proj"]
    atv.save_masks(tmp_path / "masks.safetensors", one)
    atv.save_masks(tmp_path / "two.safetensors", two)
    found = atv.diff_masks(tmp_path, tmp_path / "two.safetensors")
    assert found.table.loc[1].to_dict() == {"q_proj": 1.0, "up_proj": 0.0} and found.mean == 0.75
    assert found.same == 0.75 and found.kept[0] == pytest.approx(sum(int(m.sum()) for m in one.values()) / 384)
    p, q = found.kept
    assert found.random == pytest.approx(p * q / (p + q - p * q))
    found.write(tmp_path / "out")
    assert (tmp_path / "out" / "overlap.png").stat().st_size > 1000
    atv.save_masks(tmp_path / "three.safetensors", {"layers.0.k_proj": torch.ones(2, 2).bool()})
    with pytest.raises(ValueError, match="have masks of different weights"):
        atv.diff_masks(tmp_path, tmp_path / "three.safetensors")
    with pytest.raises(ValueError, match="no such file"):
        atv.diff_masks(tmp_path, tmp_path / "four.safetensors")


def test_the_commands_of_masks_print_and_refuse(pruned, packed, tmp_path, capsys):
    from atv.cli import main

    assert main(["masks", "diff", str(pruned), str(packed)]) == 0
    assert "mean overlap 1.000 (random masks: 0.333); 100.00% of the weights masked alike" in capsys.readouterr().out
    assert main(["masks", "diff", str(pruned)]) == 2
    assert "expected two folders" in capsys.readouterr().err
    assert main(["masks", "apply", str(packed), "--base", "nowhere", "--output", str(tmp_path / "out")]) == 2
    assert "no model at 'nowhere'" in capsys.readouterr().err


def test_masks_of_a_pattern_of_ones_own_want_its_file(small_pool, tmp_path, capsys):
    from atv.cli import main

    (tmp_path / "own_pattern.py").write_text(
        "import torch\nimport atv\n\n\nclass Alternating(atv.Pattern):\n    sparsity = 0.5\n\n"
        "    def mask(self, score, sparsity):\n        return torch.arange(score.shape[1]).expand_as(score) % 2 == 0\n"
    )
    plugin = ["--plugin", str(tmp_path / "own_pattern.py")]
    asked = ["--output", str(tmp_path / "sparse"), "--samples", "4", "--calibration", str(small_pool)]
    assert main(["prune", *asked, "--pattern", "Alternating", *plugin]) == 0
    # As another process sees it, which has not imported the file.
    for name in ("Alternating", "NoSuchPattern"):
        report = tmp_path / "sparse" / "report.json"
        report.write_text(report.read_text().replace("Alternating", name))
        packed = ["masks", "pack", str(tmp_path / "sparse"), "--base", "bundled", "--output", str(tmp_path / name)]
        assert main([*packed, *plugin]) == (0 if name == "Alternating" else 2)
    assert "for your own pattern, pass its file (--plugin FILE)" in capsys.readouterr().err


DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int8, torch.bool]


def drawn(dtype, size, seed):
    """Any bits, infinities and NaN among them."""
    generator = torch.Generator().manual_seed(seed)
    if dtype == torch.bool:
        return torch.rand(size, generator=generator) > 0.5
    return torch.randint(0, 256, (size * dtype.itemsize,), dtype=torch.uint8, generator=generator).view(dtype)


@given(st.sampled_from(DTYPES), st.integers(0, 40), st.integers(0, 99))
def test_any_bits_come_back(dtype, size, seed):
    new, old = drawn(dtype, size, seed), drawn(dtype, size, seed + 1)
    again = patched(old, delta(new, old))
    assert again.dtype == dtype and torch.equal(again.view(torch.uint8), new.view(torch.uint8))


def test_values_that_moved_little_take_less_than_their_bytes():
    old = torch.randn(40000, generator=torch.Generator().manual_seed(0)).bfloat16()
    moved = (old.float() * 1.01).bfloat16()
    assert len(delta(moved, old)) < 0.35 * old.nbytes
    assert len(delta(old, old)) < 200


@pytest.mark.parametrize("damaged", [slice(None, -3), slice(3, None)])
def test_a_damaged_delta_is_refused(damaged):
    old, new = torch.arange(90.0), torch.arange(90.0) + 0.5
    with pytest.raises(ValueError, match="its delta is broken"):
        patched(old, delta(new, old)[damaged].clone())
    with pytest.raises(ValueError, match="its delta has 360 bytes, but the tensor has 320"):
        patched(old[:80], delta(new, old))
