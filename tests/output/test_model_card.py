import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml
from helpers.pruned_folders import save_pruned

from atv.model.lvlm import LVLM
from atv.output.model_card import card, shares
from atv.output.pruned_folder import output_bytes
from atv.records.files import require_space
from atv.records.pruning_report import BaseModel, PruningReport, TargetReport


@pytest.fixture
def folder(llava, batches, tmp_path):
    save_pruned(llava, batches, tmp_path, sparsity=0.25, targets=["down_proj", "*.[02].*.q_proj"])
    return tmp_path


@pytest.fixture
def report(folder):
    return PruningReport.read(folder)


def test_the_report_says_what_the_masks_are(folder, report):
    from atv.records.masks import load_masks

    masks = load_masks(folder / "masks.safetensors")
    assert report.targets.keys() == masks.keys() and len(masks) == 5
    for name, row in report.targets.items():
        assert row.shape == list(masks[name].shape) and f".layers.{row.block}." in name
        assert row.sparsity == (~masks[name]).double().mean() and row.kept_zeros == 0
    assert report.base == BaseModel("tiny/dense", None, "LlavaForConditionalGeneration", "llava")
    assert report.updates_weights is False and "unknown" not in (report.git, report.hardware)


def test_the_card_is_written_from_the_report(folder, report):
    text = (folder / "README.md").read_text()
    assert text == card(report)
    _, front, body = text.split("---\n", 2)
    front = yaml.safe_load(front)
    assert front["library_name"] == "transformers" and "base_model" not in front
    assert {"pruning", "llava"} <= set(front["tags"]) and front["pipeline_tag"] == "image-text-to-text"
    assert "| block | down_proj | q_proj |\n|---|---|---|\n| 0 | 25.00 | 25.00 |\n| 1 | 25.00 |  |" in body
    for block in report.blocks:
        drift, pool = f"{block.mean_drift:.4f}", block.selected["both"]["visual"]
        assert f"| {block.block} | {drift} | {pool} of {block.tokens['visual']} |" in body
    assert "![Sparsity, drift and pool by block](pruning.png)" in body
    assert (folder / "pruning.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_is_no_base_model_on_the_hub(report, tmp_path):
    for name in ("bundled", "./some/model", "/data/model", "gone/model", "gone/model@v2", str(tmp_path)):
        assert "base_model" not in card(replace(report, base=BaseModel(name, None, "A", "a"))).split("---\n")[1]


@pytest.mark.parametrize("name", ["owner/name", "owner/name@v2", "owner/name@refs/pr/1"])
def test_a_base_model_of_the_hub_is_linked_without_its_revision(report, name):
    front = card(replace(report, base=BaseModel(name, "0" * 40, "A", "a"))).split("---\n")[1]
    assert yaml.safe_load(front)["base_model"] == "owner/name"
    assert "base_model" not in card(replace(report, base=BaseModel("/cache/owner/name", "0" * 40, "A", "a")))


def test_fine_tuning_stands_in_the_card(report):
    assert "## Fine-tuning" not in card(report)
    story = {"learning_rate": 0.001, "steps": 30, "losses": [{"step": 0, "loss": 1.0}]}
    assert "| learning_rate | 0.001 |\n| steps | 30 |\n" in card(replace(report, finetuning=story))


def test_shares_weigh_linears_by_their_size(report):
    rows = {
        "m.layers.0.a.up": TargetReport(0, [2, 2], 0.5, 0),
        "m.layers.0.b.up": TargetReport(0, [4, 3], 0.25, 0),
        "m.layers.1.a.down": TargetReport(1, [1, 4], 1.0, 0),
    }
    report = replace(report, targets=rows)
    assert shares(report, "kind") == {"up": 5 / 16, "down": 1.0} and shares(report, "block") == {0: 5 / 16, 1: 1.0}
    assert shares(report, "block", "kind") == {(0, "up"): 5 / 16, (1, "down"): 1.0}


@pytest.mark.parametrize("criterion", ["Wanda", "SparseGPT"])
def test_a_run_writes_no_more_than_was_foreseen(llava, batches, tmp_path, criterion):
    import atv

    lvlm = LVLM.of(llava)
    targets = lvlm.targets(["up_proj"])
    foreseen = output_bytes(lvlm, targets, updates_weights=criterion == "SparseGPT")
    atv.prune(llava, batches, criterion=criterion, targets=["up_proj"], run_dir=tmp_path)
    llava.save_pretrained(tmp_path)
    written = sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors"))
    assert 0 <= written - foreseen < 20_000  # headers


def test_what_is_there_already_needs_no_space(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    (tmp_path / "shard").write_bytes(bytes(900))
    require_space(tmp_path, 1000, "output")
    with pytest.raises(ValueError, match=r"output: .* needs 0.00 GB more, but only 0.00 GB are free; free space or"):
        require_space(tmp_path, 1001, "output")
    (tmp_path / ".offload").mkdir()
    (tmp_path / ".offload" / "weight.dat").write_bytes(bytes(500))
    with pytest.raises(ValueError, match=r"output: .* needs"):
        require_space(tmp_path, 1001, "output")
    (tmp_path / ".writing").mkdir()
    (tmp_path / ".writing" / "half").write_bytes(bytes(1))
    require_space(tmp_path, 1001, "output")
