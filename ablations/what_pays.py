"""What does each way of making a model smaller save in parameters, bytes and time, and at what loss?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import lightning as L
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atv.ablation import SUITED, Ablation, Bench, Cell, Finding, Levels, Measured, Results, pruned_copy
from atv.ablation.charts import PALETTE, finish
from atv.ablation.measuring import answers_of, english_of
from atv.api import FinetuningSettings, Pathway, finetune, load, measure, quantize, save
from atv.bundled import BUNDLED
from atv.evaluation.speed import Speed, paired_ratios
from atv.everyday.assembly.made_folder import EVERYDAY
from atv.model.lvlm import LVLM
from atv.statistics.estimates import Estimate

REPEATS = 7
COSTS = ("parameters", "bytes", "prefill", "decode")


class Way(NamedTuple):
    """How a model is made smaller, in the order of the steps.

    Attributes:
        parts: arguments of its pathway; if empty, the model stays dense.
        recovered: whether it then learns the dense model's outputs.
        bits: to how many bits GPTQ finally rounds its weights; None for no rounding.
        targets: the Linears to prune; None for all.
    """

    parts: Mapping[str, Any]
    recovered: bool = False
    bits: int | None = None
    targets: tuple[str, ...] | None = None

    @property
    def after(self) -> str:
        """The steps after pruning, which identify a cell."""
        return ", ".join((["recovered"] if self.recovered else []) + ([f"{self.bits} bits"] if self.bits else []))


FFN = ("*.mlp.*",)
HALF: dict[str, Any] = {"sparsity": 0.5}
LEAST_SQUARES: dict[str, Any] = {"reconstruct": "LeastSquares"}
NARROW = {"pattern": "FFNChannels"} | LEAST_SQUARES
WAYS = {
    "unstructured 50%": Way(HALF),
    "unstructured 50%, recovered": Way(HALF, recovered=True),
    "FFN weights 50%": Way(HALF, targets=FFN),
    "FFN weights 50%, recovered": Way(HALF, recovered=True, targets=FFN),
    "FFN weights 50%, least squares": Way(HALF | LEAST_SQUARES, targets=FFN),
    "2:4": Way({"pattern": "2:4"}),
    "FFN channels 30%": Way(NARROW | {"sparsity": 0.3}),
    "FFN channels 30%, recovered": Way(NARROW | {"sparsity": 0.3}, recovered=True),
    "FFN channels 50%": Way(NARROW | HALF),
    "FFN channels 50%, recovered": Way(NARROW | HALF, recovered=True),
    "8 bits": Way({}, bits=8),
    "4 bits": Way({}, bits=4),
    "3 bits": Way({}, bits=3),
    "unstructured 50%, 8 bits": Way(HALF, bits=8),
    "FFN channels 30%, 8 bits": Way(NARROW | {"sparsity": 0.3}, bits=8),
}
# Zeros in a dense file cost the same wherever they are, so this method stands for the size and speed of all such files.
ZEROS = "unstructured 50%"
MARKERS = {None: "o", 8: "s", 4: "^", 3: "v"}
# Recovery: samples per calibration sample, and learning rates; models with billions of parameters need a lower one.
SAMPLES, RATES, RATE = 8, {BUNDLED: 5e-4, EVERYDAY: 1e-4}, 2e-5


class WhatPays(Ablation):
    """Size, speed and answers of each method's saved folder beside the dense one's; some methods after recovery.

    Models are timed in turns.
    """

    name = "what_pays"
    question = "What does each way of making a model smaller buy, and at what loss?"

    def __init__(self, levels: Levels = SUITED[BUNDLED]) -> None:
        super().__init__(levels)
        self.caption = (
            "All numbers but retention are ratios to the dense model: parameters of the loaded model, bytes of its "
            "files of weights, tokens a second of prefill and decode (times as fast, medians of "
            f"{REPEATS} turns a seed of this model and the dense one). Recovered: trained to give the dense model's "
            "outputs on calibration data, without answers. FFN weights: single weights, as many as the channels hold; "
            f"they weigh and take what {ZEROS!r} does. 8, 4 and 3 bits: rounded by GPTQ, weighed as packed, but timed "
            "as the floats that transformers makes of them. Retention in % of the dense score, with 95% intervals."
        )

    def cells(self, seed: int) -> Sequence[Cell]:
        grid = [Cell({"method": "dense", "of": "answers"})]
        for name, way in WAYS.items():
            pathways = {"both": Pathway("DriftTopK", **way.parts)} if way.parts else {}
            asked_cell = Cell({"method": name, "of": "answers"}, pathways, way.targets, seed=seed, measure=way.after)
            grid.append(asked_cell)
            if _timed_method(name) == name:
                measure = f"speed, {way.after}" if way.after else "speed"
                grid.append(replace(asked_cell, labels={"method": name, "of": "speed"}, measure=measure))
        return grid

    def measure(self, cell: Cell, bench: Bench, trainer: L.Trainer) -> Measured:
        with TemporaryDirectory() as folder:
            dense = Path(folder, "dense")
            bench.model.save_pretrained(dense)
            bench.processor.save_pretrained(dense)
            smaller = self._smaller_folder(cell, bench, dense, trainer)
            if cell.labels["of"] == "speed":
                return Measured(_ratios(*measure(dense, smaller, repeats=REPEATS).values()))
            model, _ = load(smaller, quantized=True)
            return Measured(answers_of(model, bench, trainer), english=english_of(model, bench, trainer))

    def _smaller_folder(self, cell: Cell, bench: Bench, dense: Path, trainer: L.Trainer) -> Path:
        """Makes the cell's model in a folder beside the dense one, and returns that folder."""
        way, folder = WAYS[cell.labels["method"]], dense
        model, report = pruned_copy(cell, bench, trainer)
        if report is not None:
            folder = dense.with_name("pruned")
            save(folder, model, bench.processor, report)
        if way.recovered:
            folder = self._recovered(cell, bench, folder, dense)
        return _rounded(folder, way.bits, cell, bench, trainer) if way.bits else folder

    def _recovered(self, cell: Cell, bench: Bench, smaller: Path, dense: Path) -> Path:
        """Trains the decoder blocks on the dense model's outputs for an epoch, and returns the new folder."""
        samples, rate = SAMPLES * (cell.samples or bench.samples), RATES.get(self.levels.model, RATE)
        blocks = f"{LVLM.of(bench.model).blocks_name}.*"
        settings = FinetuningSettings(
            epochs=1, batch_size=min(16, samples), learning_rate=rate, train_also=(blocks,), seed=cell.seed
        )
        finetune(
            *(smaller, smaller.with_name("recovered"), bench.data),
            teacher=dense,
            samples=samples,
            validation=0,
            max_length=bench.max_length,
            settings=settings,
            trainer={"enable_progress_bar": False},
        )
        return smaller.with_name("recovered")

    def table(self, results: Results) -> pd.DataFrame:
        rows: list[dict[str, Any]] = [
            {"method": "dense"} | dict.fromkeys(COSTS, 1.0) | _retention_columns(results, "dense")
        ]
        for name in WAYS:
            medians = _turns(results, name).median()
            rows.append(
                {"method": name} | {cost: float(medians[cost]) for cost in COSTS} | _retention_columns(results, name)
            )
        return pd.DataFrame(rows)

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        figure, (time_axes, size_axes) = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
        for color, row in zip(_colors(table), table.to_dict("records"), strict=True):
            low, middle, high = np.quantile(1 / _turns(results, row["method"])["decode"], [0.25, 0.5, 0.75])
            _point(time_axes, middle, [[middle - low], [high - middle]], row, color)
            _point(size_axes, row["bytes"], None, row, color)
        time_axes.set(
            xlabel="time to decode a token, over the dense model's\n(bars: half of the turns)", ylabel="retention (%)"
        )
        size_axes.set(xlabel="bytes of its files, over the dense model's")
        handles, names = size_axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right center", fontsize=8, frameon=False)
        figure.suptitle(
            "Left is cheaper, above is better; hollow: recovered; squares: 8 bits; triangles: 4, or 3 (down)",
            fontsize=10,
        )
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        zeros_claim = "Unstructured zeros in dense files decode faster"
        narrow_claim = "Without half of its FFN channels a model decodes more than 1.3 times as fast"
        return [
            _faster(results, "unstructured 50%", zeros_claim, 1.0, 0.05),
            _faster(results, "FFN channels 50%", narrow_claim, 1.3),
            _costlier(results, "FFN channels 50%", "FFN weights 50%"),
            _costlier(results, "FFN channels 50%, recovered", "FFN weights 50%, recovered"),
            _costlier(results, "FFN channels 50%", "FFN weights 50%, least squares"),
        ]


def _rounded(folder: Path, bits: int, cell: Cell, bench: Bench, trainer: L.Trainer) -> Path:
    """Quantizes a model, calibrated on the cell's samples, and returns the new folder."""
    output = folder.with_name("rounded")
    sampling: dict[str, Any] = {
        "samples": cell.samples or bench.samples,
        "max_length": bench.max_length,
        "seed": cell.seed,
    }
    quantize(folder, output, bench.data, bits=bits, trainer=trainer, **sampling)
    return output


def _ratios(dense: Speed, smaller: Speed) -> pd.DataFrame:
    """One row per turn: a model's size and speed as ratios to the dense model's."""
    sizes = {"parameters": smaller.parameters / dense.parameters, "bytes": smaller.bytes / dense.bytes}
    return pd.DataFrame(
        sizes | {phase: paired_ratios(smaller.turns, dense.turns, phase) for phase in ("prefill", "decode")}
    )


def _timed_method(method: str) -> str:
    """The method whose size and speed this one shares: recovery changes neither, and all zeros cost the same."""
    return ZEROS if WAYS[method].targets else method.removesuffix(", recovered")


def _turns(results: Results, method: str) -> pd.DataFrame:
    """Ratios to the dense model, one row per turn."""
    if method == "dense":
        return pd.DataFrame([dict.fromkeys(COSTS, 1.0)])
    return pd.concat([finished_cell.rows for finished_cell in results.of(method=_timed_method(method), of="speed")])


def _retention_columns(results: Results, method: str) -> dict[str, Any]:
    estimate = results.retention(method=method, of="answers")["average"]
    return {"retention": estimate.value, "low": estimate.low, "high": estimate.high} | results.language(
        method=method, of="answers"
    )


def _faster(results: Results, method: str, claim: str, bound: float, margin: float | None = None) -> Finding:
    """The finding that a method decodes more than ``bound`` times as fast as the dense model."""
    ratio = _turns(results, method)["decode"]
    ours = Estimate(float(ratio.median()), float(ratio.min()), float(ratio.max()))
    unit = "times the dense model's tokens a second (least to greatest of the turns)"
    return Finding(f"{claim}, beside the dense model.", "", ours, unit, bound, f"{len(ratio)} turns", margin=margin)


def _costlier(results: Results, structure: str, weights: str) -> Finding:
    """The finding that structures (with least squares on what reads them) cost more than as many single weights."""
    claim = "With half of its FFN weights gone one by one a model keeps more than with half of its FFN channels gone"
    weights_labels, structure_labels = ({"method": method, "of": "answers"} for method in (weights, structure))
    if "reconstruct" in WAYS[weights].parts:
        return results.keeps_more(f"{claim}, both with least squares.", weights_labels, structure_labels)
    recovery = ", both recovered" if WAYS[structure].recovered else ""
    note = "The channels come with least squares on what reads them, the single weights with no new values."
    return results.keeps_more(f"{claim}{recovery}.", weights_labels, structure_labels, note=note)


def _colors(table: pd.DataFrame) -> list[str]:
    """One color per way of pruning, whatever step follows it."""
    prunings = [(_way(name).parts, _way(name).targets) for name in table["method"]]
    distinct = [pruning for index, pruning in enumerate(prunings) if pruning not in prunings[:index]]
    return [PALETTE[distinct.index(pruning)] for pruning in prunings]


def _way(method: str) -> Way:
    return WAYS.get(method, Way({}))


def _point(axes: Axes, x: float, x_spread: Any, row: Mapping[str, Any], color: str) -> None:
    """Draws a method's point with its intervals: hollow after recovery, with a marker per number of bits."""
    way, y_spread = _way(row["method"]), np.array([[row["retention"] - row["low"]], [row["high"] - row["retention"]]])
    fill = "white" if way.recovered else color
    style: dict[str, Any] = {"fmt": MARKERS[way.bits], "color": color, "markerfacecolor": fill, "capsize": 3}
    axes.errorbar(x, row["retention"], xerr=x_spread, yerr=y_spread, label=row["method"], **style)
    finish(axes)
