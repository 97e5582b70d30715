"""What does each way of making a model smaller buy: parameters, bytes, time, and at what loss?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atv.ablation.base import Ablation
from atv.ablation.bench import Bench
from atv.ablation.cell import Cell
from atv.ablation.charts import PALETTE, finish
from atv.ablation.levels import SUITED, Levels
from atv.ablation.measuring import Measured, answers_of, pruned_copy
from atv.ablation.results import Results
from atv.api import FinetuningSettings, Pathway, finetune, load, measure, save
from atv.bundled import BUNDLED
from atv.evaluation.speed import Speed
from atv.everyday.assembly.location import EVERYDAY

REPEATS = 7
METHODS: dict[str, dict[str, Any]] = {
    "unstructured 50%": {"sparsity": 0.5},
    "2:4": {"pattern": "2:4"},
}
RECOVERED = ("2:4",)
# Of the recovery: samples for each that calibrates, and the rate; models of billions want a lower one.
SAMPLES, RATES, RATE = 8, {BUNDLED: 5e-4, EVERYDAY: 1e-4}, 2e-5


COSTS = ("parameters", "bytes", "prefill", "decode")


class WhatPays(Ablation):
    """Each method's saved folder beside the dense one: weighed, timed in turns, and asked; some after recovery."""

    name = "what_pays"
    question = "What does each way of making a model smaller buy, and at what loss?"

    def __init__(self, levels: Levels = SUITED[BUNDLED]) -> None:
        super().__init__(levels)
        self.pathways = {name: Pathway("DriftTopK", **parts) for name, parts in METHODS.items()}
        self.caption = (
            "All numbers but retention are ratios to the dense model: parameters of the loaded model, bytes of its "
            "files of weights, tokens a second of prefill and decode (times as fast, medians of "
            f"{REPEATS} turns a seed of this model and the dense one). Recovered: trained to give the dense model's "
            "outputs on calibration data, without answers. Retention in % of the dense score, with 95% intervals."
        )

    def cells(self, seed: int) -> Sequence[Cell]:
        made: list[Cell] = [Cell({"method": "dense", "of": "answers"})]
        for name, pathway in self.pathways.items():
            labels = {"method": name}
            made.append(Cell(labels | {"of": "answers"}, {"both": pathway}, seed=seed))
            made.append(Cell(labels | {"of": "speed"}, {"both": pathway}, seed=seed, measure="speed"))
        for name in RECOVERED:
            labels = {"method": _recovered(name), "of": "answers"}
            made.append(Cell(labels, {"both": self.pathways[name]}, seed=seed, measure="recovery"))
        return made

    def measure(self, cell: Cell, bench: Bench, trainer: L.Trainer) -> Measured:
        with TemporaryDirectory() as place:
            dense, smaller = Path(place, "dense"), Path(place, "smaller")
            bench.model.save_pretrained(dense)
            bench.processor.save_pretrained(dense)
            model, report = pruned_copy(cell, bench, trainer)
            assert report is not None
            save(smaller, model, bench.processor, report)
            if cell.measure == "speed":
                return Measured(_ratios(*measure(dense, smaller, repeats=REPEATS).values()))
            recovered = self._recovered(cell, bench, smaller, dense)
            return Measured(answers_of(load(recovered)[0], bench, trainer))

    def _recovered(self, cell: Cell, bench: Bench, smaller: Path, dense: Path) -> Path:
        """The folder of the model after an epoch of the dense one's outputs."""
        samples, rate = SAMPLES * (cell.samples or bench.samples), RATES.get(self.levels.model, RATE)
        settings = FinetuningSettings(epochs=1, batch_size=min(16, samples), learning_rate=rate, seed=cell.seed)
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
        rows = [{"method": "dense"} | dict.fromkeys(COSTS, 1.0) | _kept(results, "dense")]
        for name in METHODS:
            cost = _cost(results, name)
            named = [name, _recovered(name)] if name in RECOVERED else [name]
            rows += [{"method": own} | cost | _kept(results, own) for own in named]
        return pd.DataFrame(rows)

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        figure, (time, size) = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
        for color, row in zip(_colors(table), table.to_dict("records"), strict=True):
            decode = 1 / _turns(results, row["method"])["decode"]
            low, middle, high = decode.min(), decode.median(), decode.max()
            _point(time, middle, [[middle - low], [high - middle]], row, color)
            _point(size, row["bytes"], None, row, color)
        time.set(xlabel="time to decode a token, over the dense model's", ylabel="retention (%)")
        size.set(xlabel="bytes of its files, over the dense model's")
        figure.suptitle("What pays is on the left, what is kept on top", fontsize=10)
        return figure


def _ratios(dense: Speed, own: Speed) -> pd.DataFrame:
    """One row a turn: what a model weighs, and how many times as fast it is, over the dense one."""
    sizes = {"parameters": own.parameters / dense.parameters, "bytes": own.bytes / dense.bytes}
    turns = zip(own.turns, dense.turns, strict=True)
    return pd.DataFrame(
        [sizes | {"prefill": one.prefill / other.prefill, "decode": one.decode / other.decode} for one, other in turns]
    )


def _recovered(name: str) -> str:
    return f"{name}, recovered"


def _turns(results: Results, method: str) -> pd.DataFrame:
    """Ratios to the dense model of all turns; recovery moves none of them."""
    if method == "dense":
        return pd.DataFrame([dict.fromkeys(COSTS, 1.0)])
    name = method.removesuffix(_recovered(""))
    return pd.concat([done.rows for done in results.of(method=name, of="speed")])


def _cost(results: Results, method: str) -> dict[str, float]:
    medians = _turns(results, method).median()
    return {name: float(medians[name]) for name in COSTS}


def _kept(results: Results, method: str) -> dict[str, float]:
    kept = results.retention(method=method, of="answers")["average"]
    return {"retention": kept.value, "low": kept.low, "high": kept.high} | results.language(method=method, of="answers")


def _colors(table: pd.DataFrame) -> list[str]:
    """One a method, a recovered one that of its method."""
    names = [name.removesuffix(_recovered("")) for name in table["method"]]
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return [PALETTE[places[name] % len(PALETTE)] for name in names]


def _point(axes: Axes, x: float, spread: Any, row: Mapping[str, Any], color: str) -> None:
    """A method's point with its intervals; a filled one where nothing was trained, else a hollow one."""
    up = np.array([[row["retention"] - row["low"]], [row["high"] - row["retention"]]])
    fill = "white" if row["method"].endswith(_recovered("")) else color
    axes.errorbar(x, row["retention"], xerr=spread, yerr=up, fmt="o", color=color, mfc=fill, capsize=3)
    axes.annotate(f" {row['method']}", (x, row["retention"]), color=color, va="bottom", fontsize=8)
    finish(axes)
