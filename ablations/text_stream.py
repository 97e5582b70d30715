"""Does text calibrate better beside its picture than alone? (In a public replication it does, 9 of 9 times.)"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from atv.ablation import Ablation, Cell, Finding, Results, percent
from atv.ablation.charts import averages, interval_points, sample_sizes
from atv.api import Pathway
from atv.data import BundledScenes, CalibrationData, EverydayScenes, TextAlone
from atv.everyday.assembly.made_folder import EVERYDAY

JOINT, ALONE, ATV = "text tokens, joint", "text alone", "ATV, joint"
OWN = "dialogues"


class TextStream(Ablation):
    """The same words as calibration data, in a forward pass with or without their picture; for comparison, ATV's pool.

    The first two pools hold only text tokens and differ in whether the text attended to a picture.
    """

    name = "text_stream"
    question = "Do the text tokens of a joint forward calibrate better than text without a picture?"
    seeds = 3

    def cells(self, seed: int) -> Sequence[Cell]:
        grid = [Cell({"stream": "dense", "calibration": "-", "sparsity": 0.0})]
        for sparsity in self.levels.mild_and_hard:
            for name, data in self._data().items():
                streams = {JOINT: ("TextOnly", data), ALONE: ("TextOnly", TextAlone(data)), ATV: ("DriftTopK", data)}
                for stream, (selection, stream_data) in streams.items():
                    labels = {"stream": stream, "calibration": name, "sparsity": sparsity}
                    pruned = {"both": Pathway(selection, sparsity)}
                    grid.append(Cell(labels, pruned, seed=seed, calibration=stream_data))
        return grid

    def _data(self) -> dict[str, CalibrationData]:
        """The run's own data and, if the model's training scenes are available, two kinds of text about them."""
        if not self.levels.model:
            return {OWN: self.calibration_data}
        scenes = EverydayScenes if self.levels.model == EVERYDAY else BundledScenes
        return {OWN: self.calibration_data, "captions": scenes("captions"), "answers": scenes("answers")}

    def claimed(self, cell: Cell) -> bool:
        return cell.labels["stream"] != ATV

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        average, row_count, data = averages(table), len(self.levels.mild_and_hard), list(self._data())
        figure, panels = plt.subplots(
            row_count,
            len(data),
            figsize=(10, 1.9 * row_count),
            sharex="row",
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        for panel_row, sparsity in zip(panels, self.levels.mild_and_hard, strict=True):
            for axes, name in zip(panel_row, data, strict=True):
                rows = average[(average["calibration"] == name) & (average["sparsity"] == sparsity)]
                interval_points(axes, rows, [ATV, JOINT, ALONE], "stream")
                axes.set_title(f"{name}, {percent(sparsity)}", fontsize=9)
        for axes in panels[-1]:
            axes.set_xlabel("average retention (%)")
        figure.suptitle(sample_sizes(average), fontsize=10)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        def joint_keeps_more(name: str, sparsity: float) -> Finding:
            joint_labels, alone_labels = (
                {"stream": stream, "calibration": name, "sparsity": sparsity} for stream in (JOINT, ALONE)
            )
            claim = f"At {percent(sparsity)}, the text tokens of a joint forward keep more than the same text alone"
            return results.keeps_more(f"{claim} (calibrated on {name}).", joint_labels, alone_labels)

        return [joint_keeps_more(name, sparsity) for sparsity in self.levels.mild_and_hard for name in self._data()]
