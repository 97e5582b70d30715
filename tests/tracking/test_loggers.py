"""Offline run files are read back and compared with what the cells left on disk."""

import json
import re
from dataclasses import replace

import pandas as pd
import pytest
import wandb
import yaml
from helpers.tracked_runs import read, read_all
from tracking.conftest import SECRET

from atv.ablation import Cell
from atv.ablation.results import Results
from atv.ablation.store import FinishedCell
from atv.api import Pathway
from atv.records.cell_record import CellRecord
from atv.records.masks import load_masks
from atv.runtime.wandb_settings import wandb_mode
from atv.tracking import keys, log
from atv.tracking.base import Entry
from atv.tracking.cells import CellEntries
from atv.tracking.csv_and_tensorboard import CSVTracker, TensorBoardTracker
from atv.tracking.wandb_runs import WandbTracker, of_one_type

CELLS = {part: f"part {part}, seed 0" for part in ("none", "text", "visual", "both")}


@pytest.fixture(scope="module")
def summary(runs):
    return runs["mask_overlap: summary"]


def cell_of(logged, run):
    return logged[0].parent / "cells" / run.config["cell"]


def test_one_run_a_cell_and_one_for_the_ablation_in_one_group(runs):
    assert set(runs) == {*CELLS.values(), "mask_overlap: summary"}
    assert {run.group for run in runs.values()} == {"mask_overlap"}
    assert sorted(run.kind for run in runs.values()) == ["cell"] * 4 + ["summary"]
    assert runs[CELLS["text"]].tags == ["cell", "pruned: text", "calibration: text"]


@pytest.mark.parametrize(
    ("part", "pathway", "sparsity", "source"),
    [
        ("none", "none", 0, "none"),
        ("text", "text", 0.6, "text"),
        ("visual", "visual", 0.6, "mixed"),
        ("both", "both", 0.5, "DriftTopK"),
    ],
)
def test_config_says_what_was_run_and_where(logged, runs, part, pathway, sparsity, source):
    config = runs[CELLS[part]].config
    record = json.loads((cell_of(logged, runs[CELLS[part]]) / "cell.json").read_text())
    assert config["part"] == part and config["seed"] == 0 and config["samples"] == 4
    assert (config["pruned_pathway"], config["sparsity"], config["calibration_source"]) == (pathway, sparsity, source)
    for name in ("versions", "git", "hardware", "inputs"):
        assert config[name] == record[name]
    assert config["pathways"] == record["config"]["pathways"]
    assert config["origin"]["groups"] == 2 and config["origin"]["model"] == "bundled"


@pytest.mark.parametrize("part", ["text", "visual", "both"])
def test_curves_are_those_of_the_report(logged, runs, part):
    run = runs[CELLS[part]]
    blocks = json.loads((cell_of(logged, run) / "report.json").read_text())["blocks"]
    assert run.curve("drift") == {b["block"]: b["mean_drift"] for b in blocks} and len(blocks) == 6
    assert run.curve("block_seconds") == {b["block"]: b["seconds"] for b in blocks}
    pathway = "both" if part == "both" else part
    for modality in ("text", "visual"):
        site = "model.language_model.layers.{}.mlp.down_proj"
        expected = {b["block"]: b["norms"][modality][site.format(b["block"])] for b in blocks}
        assert run.curve(f"norm/{modality}/mlp/down_proj") == pytest.approx(expected)
        expected = {b["block"]: b["selected"][pathway][modality] / 4 for b in blocks}
        assert run.curve(f"selected/{pathway}/{modality}") == pytest.approx(expected)
    for key in ("drift", "block_seconds", "norm/*", "selected/*", "block_sparsity/*"):
        assert run.axes[key] == "x_block"


def test_sparsity_by_block_is_that_of_the_masks(logged, runs):
    run = runs[CELLS["visual"]]
    masks = load_masks(cell_of(logged, run) / "masks.visual.safetensors")
    for block, share in run.curve("block_sparsity/visual").items():
        own = [mask for name, mask in masks.items() if f".layers.{block}." in name]
        assert share == pytest.approx(sum((~m).sum().item() for m in own) / sum(m.numel() for m in own)) and share > 0.5
    assert set(run.curve("block_sparsity/text").values()) == {0}


@pytest.mark.parametrize("part", CELLS)
def test_scores_retention_and_counts_are_those_of_the_table(logged, runs, part):
    run, table = runs[CELLS[part]], pd.read_csv(logged[0] / "table.csv")
    rows = table[table["part"].fillna("none") == part].set_index("task")
    assert len(rows) == 10
    for task, row in rows.iterrows():
        kept = [run.summary[f"retention/{task}{end}"] for end in ("", "/low", "/high")]
        assert kept == pytest.approx([row["retention"], row["low"], row["high"]])
        if task != "average":
            assert run.summary[f"score/{task}"] == pytest.approx(row["score"])
    assert run.summary["questions"] == rows.loc["average", "questions"]
    assert run.summary["groups"] == rows.loc["average", "groups"]
    assert run.summary[f"retention_pruning_{part}/average"] == pytest.approx(rows.loc["average", "retention"])
    (point,) = [row for row in run.history if "average_retention" in row]
    assert point["average_retention"] == pytest.approx(rows.loc["average", "retention"])
    assert point["sparsity"] == run.config["sparsity"] and run.axes["average_retention*"] == "sparsity"
    (tasks,) = [row for row in run.history if row.get("tasks/_type") == "table-file"]
    assert tasks["tasks/nrows"] == 9
    seconds = json.loads((cell_of(logged, run) / "cell.json").read_text())["seconds"]
    assert run.summary["seconds/prune"] == pytest.approx(seconds["prune"])


def test_masks_and_report_are_an_artifact_read_from_the_cell(logged, runs):
    for part, masks in {"text": ["masks.text", "masks.visual"], "both": ["masks"]}.items():
        folder = cell_of(logged, runs[CELLS[part]])
        name, files = runs[CELLS[part]].artifacts["masks"]
        assert name == f"cell-{folder.name}"
        expected = [f"{mask}.safetensors" for mask in masks] + ["report.json"]
        assert files == {file: str(folder / file) for file in expected}
    assert "masks" not in runs[CELLS["none"]].artifacts


def test_the_summary_holds_table_findings_and_figure(logged, summary):
    folder = logged[0] / "wandb" / next(logged[0].glob(f"wandb/*-{summary.id}")).name / "files"
    values = {key: value for row in summary.history for key, value in row.items()}
    table = json.loads((folder / values["table/path"]).read_text())
    assert {"questions", "groups", "seeds", "low", "high"} <= set(table["columns"]) and len(table["data"]) == 40
    findings = json.loads((folder / values["findings/path"]).read_text())
    (row,) = [dict(zip(findings["columns"], row, strict=True)) for row in findings["data"]]
    (own,) = json.loads((logged[0] / "findings.json").read_text())
    assert row["ours"] == pytest.approx(own["ours"]["value"]) and row["verdict"] == own["verdict"] and row["count"]
    (picture,) = values["figure/mask_overlap/filenames"]
    assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    assert summary.summary["cells"] == 4 and summary.config["versions"]["torch"]


def test_no_secret_and_no_command_line_is_kept(logged):
    files = [file for file in (logged[0] / "wandb").rglob("*") if file.is_file()]
    assert files and not any(SECRET.encode() in file.read_bytes() for file in files)
    assert not list((logged[0] / "wandb").rglob("wandb-metadata.json"))


def test_a_logged_cell_is_not_logged_again_and_another_figure_replaces_the_summary(
    logged, summary, capsys, monkeypatch
):
    from atv.cli import main

    folder, options = logged
    monkeypatch.setenv("WANDB_DATA_DIR", str(folder.parent / "staging"))
    before = sorted(folder.glob("wandb/offline-run-*"))
    ledger = folder / "wandb" / "logged.json"
    known = json.loads(ledger.read_text())
    ledger.write_text(json.dumps(known | {summary.id: "of another figure"}))
    assert main(options) == 0
    said, after = capsys.readouterr().out, sorted(folder.glob("wandb/offline-run-*"))
    assert "wandb: 1 new run in" in said and "csv: 0 new runs in" in said
    assert f"WANDB_MODE=offline wandb leet {folder / 'leet'}" in said
    assert len(after) == len(before) == 5 and [run for run in before if run not in after] == [
        run for run in before if run.name.endswith(summary.id)
    ]
    assert json.loads(ledger.read_text()) == known


def test_a_cell_has_another_version_where_it_or_the_dense_model_was_asked_more_or_written_again(tmp_path):
    def finished(name, *further, pathways=None):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "cell.json").write_text(name)
        return FinishedCell(Cell({"method": name}, pathways or {}), tmp_path / name, further)

    def logged(dense, *cells):
        entries = CellEntries("x", Results([dense, *cells]), {})
        return {run_id: entries.version(done) for run_id, done in entries.by_run_id().items()}

    more, dense = finished("more"), finished("dense")
    one, other = (finished(name, pathways={"both": Pathway("AllTokens")}) for name in ("one", "other"))
    before = logged(dense, one, other)

    def changed(after):
        assert [*after] == [*before]
        return [after[run_id] != version for run_id, version in before.items()]

    assert changed(logged(dense, one, other)) == [False, False, False]
    assert changed(logged(dense, replace(one, further=(more,)), other)) == [False, True, False]
    assert changed(logged(replace(dense, further=(more,)), one, other)) == [True, True, True]
    (one.folder / "cell.json").write_text("with perplexity")
    assert changed(logged(dense, one, other)) == [False, True, False]


def test_a_cell_that_an_early_look_settled_refers_to_the_dense_model_on_its_own_groups(tmp_path):
    def finished(name, credits, pathways=None):
        (tmp_path / name).mkdir()
        groups = [f"g{index}" for index in range(len(credits))]
        rows = pd.DataFrame({"question_id": groups, "group": groups, "credit": credits})
        rows.assign(task="reading", metric="ExactMatch", category="all").to_parquet(tmp_path / name / "rows.parquet")
        CellRecord(name).write(tmp_path / name)
        return FinishedCell(Cell({"method": name}, pathways or {}), tmp_path / name)

    settled = finished("settled", [1.0, 0.0], {"both": Pathway("AllTokens")})
    entries = CellEntries("x", Results([finished("dense", [1.0, 1.0, 0.0, 0.0]), settled]), {})
    assert entries.entry("0" * 16, settled).summary["retention/average"] == pytest.approx(50)


def test_rounding_to_few_bits_is_not_the_dense_model():
    plan = {"sparsity": 0.0, "selection": {"class": "TextOnly"}}
    rounded = {keys.PATHWAY: "both", keys.SPARSITY: 0.0, keys.SOURCE: "text"}
    assert keys.pruned({"both": plan | {"reconstruct": {"class": "GPTQ", "bits": 3}}}) == rounded
    assert keys.pruned({"both": plan})[keys.PATHWAY] == "none"


def test_values_of_several_types_in_one_column_are_text():
    table = of_one_type(pd.DataFrame({"alpha": ["dense", 0.5, None], "seed": [0, 1, 2], "rule": ["a", None, "b"]}))
    assert table["alpha"].tolist()[:2] == ["dense", "0.5"] and table["alpha"].isna()[2]
    assert table["seed"].tolist() == [0, 1, 2] and table["rule"].tolist()[::2] == ["a", "b"]
    wandb.Table(dataframe=table)


def test_a_run_that_is_logged_again_takes_the_earlier_ones_place(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for cells in (10.0, 20.0):
        for tracker in (TensorBoardTracker(tmp_path), CSVTracker(tmp_path)):
            tracker.log(Entry("0" * 16, "x: summary", "x", "summary", {}, summary={"cells": cells}))
    (folder,) = tmp_path.glob("tensorboard/x-*")
    scalars = events.EventAccumulator(str(folder)).Reload().Scalars("cells")
    assert [event.value for event in scalars] == [20.0]
    (metrics,) = tmp_path.glob("csv/x-*/metrics.csv")
    assert pd.read_csv(metrics)["cells"].tolist() == [20.0]


@pytest.mark.parametrize("host", ["api.wandb.ai", "wandb.example.org"])
def test_online_only_for_a_logged_in_user(monkeypatch, tmp_path, host):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", f"https://{host}")
    assert wandb_mode() == "offline"
    (tmp_path / "netrc").write_text(f"machine {host}\n  login user\n  password {'x' * 40}\n")
    assert wandb_mode() == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode() == "disabled"


def test_a_folder_shows_the_runs_under_the_names_of_their_cells_the_summary_first(logged, runs):
    view = logged[0] / "leet"
    names = sorted((folder.name for folder in view.iterdir()), reverse=True)
    shown = [re.fullmatch(r"run-\d{8}_\d{6}-(.*)", name)[1] for name in names]
    assert shown == ["summary", "none, seed 0", "text, seed 0", "visual, seed 0", "both, seed 0"]
    for name, own in zip(names, shown, strict=True):
        (found,) = view.glob(f"{name}/run-*.wandb")
        assert found.name == f"run-{own}.wandb" and found.read_bytes() and (view / name / "files").is_dir()
        expected = runs["mask_overlap: summary" if own == "summary" else f"part {own}"]
        assert read(view / name).id == expected.id


def test_what_matters_comes_first_and_the_axis_of_curves_last(runs):
    charts = sorted({key for row in runs[CELLS["both"]].history for key in row if not key.startswith("_")})
    assert charts[0] == "average_retention" and charts[-1] == "x_block" and "block" not in charts
    assert not any(chart.startswith(("retention/", "score/")) for chart in charts)


def test_the_summary_has_a_line_a_method(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))
    lines = {"ATV": {0.5: 96.0, 0.6: 80.0}, "alpha 0.5": {0.6: 70.0}}
    WandbTracker(tmp_path).log(Entry("0" * 16, "main: summary", "main", "summary", {}, lines=lines))
    (run,) = read_all(tmp_path).values()
    drawn = [{key: row[key] for key in row if not key.startswith("_")} for row in run.history[:2]]
    assert drawn == [
        {"sparsity": 0.5, "average_retention/ATV": 96.0},
        {"sparsity": 0.6, "average_retention/ATV": 80.0, "average_retention/alpha 0_5": 70.0},
    ]
    assert run.axes["average_retention*"] == "sparsity"
    assert any("retention_by_sparsity" in key for row in run.history for key in row)


def report_of(logged, part):
    for file in logged[0].parent.glob("cells/*/cell.json"):
        if json.loads(file.read_text())["labels"] == {"part": part}:
            return json.loads((file.parent / "report.json").read_text())


def test_csv_holds_curves_scores_and_config(logged):
    (folder,) = logged[0].glob("csv/part-visual-seed-0-*")
    metrics = pd.read_csv(folder / "metrics.csv").set_index("step")
    report = report_of(logged, "visual")
    assert metrics["drift"].dropna().tolist() == pytest.approx([b["mean_drift"] for b in report["blocks"]])
    table = pd.read_csv(logged[0] / "table.csv").set_index(["part", "task"])
    assert metrics["retention/average"].dropna().tolist() == [
        pytest.approx(table.loc[("visual", "average"), "retention"])
    ]
    config = yaml.safe_load((folder / "hparams.yaml").read_text())
    assert config["pruned_pathway"] == "visual" and config["seed"] == 0 and config["versions"]["torch"]


def test_tensorboard_holds_the_same_and_the_figure(logged):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (folder,) = logged[0].glob("tensorboard/part-visual-seed-0-*")
    scalars = events.EventAccumulator(str(folder)).Reload()
    drift = [(event.step, event.value) for event in scalars.Scalars("drift")]
    expected = [(b["block"], pytest.approx(b["mean_drift"])) for b in report_of(logged, "visual")["blocks"]]
    assert drift == expected
    (summary,) = logged[0].glob("tensorboard/mask-overlap-summary-*")
    assert events.EventAccumulator(str(summary)).Reload().Tags()["images"] == ["figure/mask_overlap"]


def test_each_logger_once_none_alone_and_missing_ones_named(monkeypatch):
    assert log.chosen_loggers("csv") == ["csv"] and log.chosen_loggers(["csv", "wandb", "csv"]) == ["csv", "wandb"]
    assert log.chosen_loggers("none") == []
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert log.chosen_loggers(["wandb", "csv"]) == ["csv"]
    monkeypatch.setattr(log, "find_spec", lambda package: None)
    with pytest.raises(ValueError, match=r"tensorboard is not installed; pip install tensorboard"):
        log.chosen_loggers("tensorboard")
