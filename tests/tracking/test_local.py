import json

import pandas as pd
import pytest
import yaml

from atv.tracking import log


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
