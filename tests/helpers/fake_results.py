"""Two ablations with made-up numbers, written by the functions that write real ones."""

import json

import pandas as pd
from matplotlib.figure import Figure

from atv.ablation import Ablation, Cell, Finding, Results
from atv.ablation.store import FinishedCell
from atv.ablation.tables import RETENTION
from atv.ablation.writing import write_results
from atv.statistics.estimates import Estimate

TASKS = ["circular", "diagrams", "knowledge", "multistep", "paired", "presence", "reading", "relations", "average"]


class Flat(Ablation):
    """Text pruned by its own tokens, and by tokens of the other modality."""

    name, paper = "flat", "Table 1"
    question = "Does the textual pathway need text tokens <b>to be calibrated</b>?"

    def cells(self, seed):
        return [Cell({"calibration": name}, seed=seed) for name in ("none", "text", "visual")]

    def table(self, results):
        rows = [
            dict(zip(RETENTION, (task, 80.0, 150, 300, 1, 99.1, 97.2, 100.9, None, None), strict=True)) | labels
            for labels in results.methods()
            for task in TASKS
        ]
        return pd.DataFrame(rows)

    def figure(self, table, results):
        figure = Figure(figsize=(7, 4))
        figure.subplots().plot(table["retention"])
        return figure

    def findings(self, results):
        above = "Text tokens calibrate the textual pathway better than visual ones at 60%."
        below, open_ = "Half of the visual pathway's weights may go.", "Mixed tokens | all of them | lie between both."
        equal = "Text tokens with a few visual ones calibrate as well as all of them."
        unit = "points of retention"
        return [
            Finding(above, "33.73 points", Estimate(21.34, 18.1, 24.8), unit, count="1,350 questions, 3 seeds"),
            Finding(below, "no number", Estimate(-3.2, -4.4, -1.96), unit, bound=-1, note="The model is small."),
            Finding(open_, "14.05 points", Estimate(0.4, -1.04, 1.9), unit, margin=1.0),
            Finding(equal, "0.15 points", Estimate(0.1, -0.61, 0.83), unit, margin=1.0, printed=0.15),
        ]


class Quiet(Flat):
    """An ablation with many rows and no claims."""

    name, question, paper = "quiet", "What became of forty rows?", ""

    def table(self, results):
        return pd.DataFrame({"row": range(40), "seconds": [1.5] * 40})

    def figure(self, table, results):
        return super().figure(table.rename(columns={"seconds": "retention"}), results)

    def findings(self, results):
        return []


def write(folder, ablation, **changed):
    """Writes results/<name>/ with three cells of two seconds each."""
    finished = []
    for number, cell in enumerate(ablation.cells(seed=0)):
        home = folder / "cells" / f"{number:016x}"
        home.mkdir(parents=True, exist_ok=True)
        (home / "cell.json").write_text(json.dumps({"seconds": {"prune": 0.5, "evaluate": 1.5}}))
        finished.append(FinishedCell(cell, home))
    bundled = dict.fromkeys(("model", "calibration", "evaluation"), "bundled")
    origin = bundled | {
        "samples": 128,
        "split": "test",
        "groups": 150,
        "seeds": [0],
        "whole_seeds": 1,
        "max_new_tokens": 8,
    }
    origin |= {"file": f"ablations/{ablation.name}.py"} | changed
    (folder / ablation.name).mkdir()
    write_results(ablation, Results(finished), folder / ablation.name, origin)
