"""Which recipe keeps more of tasks and plain English than every known method? Searched on dev, tested once."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from atv.ablation import Ablation, Cell, Finding, Labels, Results, percent
from atv.ablation.charts import GREY, TEXT, averages, finish, interval_points, sample_sizes
from atv.allocation import DAS
from atv.api import Pathway, questions
from atv.bundled import BUNDLED
from atv.criteria import RIA, SparseGPT
from atv.data import BundledScenes, CalibrationData, EverydayProse, Mixture
from atv.evaluation.question_sets import Suite
from atv.everyday.assembly.made_folder import EVERYDAY
from atv.selection import AMIA, DriftTopK, WeightedPools
from atv.statistics.estimates import Estimate

Parts = dict[str, Any]
ATV, ALL = {"selection": "DriftTopK"}, {"selection": "AllTokens"}
# Four variants each, so that all are tuned alike. Every variant is tried with both kinds of calibration data.
RECIPES: dict[str, dict[str, Parts]] = {
    "update": {
        "SparseGPT": ATV | {"criterion": "SparseGPT"},
        "ADMM": ATV | {"criterion": "ADMM"},
        "ALPS": ATV | {"criterion": "ALPS"},
        "Wanda, least squares": ATV | {"reconstruct": "LeastSquares"},
    },
    "masks": {
        "RIA": ATV | {"criterion": "RIA"},
        "pools weighed": {"selection": WeightedPools(visual=0.3, picks=DriftTopK())},
        "words alike": {"selection": WeightedPools(visual=0.3, words=True, picks=DriftTopK())},
        "answers apart": {"selection": WeightedPools(visual=0.3, answers=1.0, picks=DriftTopK())},
    },
    "measured": {
        "balanced pools": {"selection": "BalancedPools", "criterion": "SparseGPT"},
        "MBQ's weights": {"selection": "GradientRatio", "criterion": "SparseGPT"},
        "VLMQ's weights": {"selection": "TokenSensitivity", "criterion": "SparseGPT"},
        "Wanda++, blocks trained": ATV | {"criterion": "WandaPlusPlus", "reconstruct": "BlockReconstruction"},
    },
}
RIVALS: dict[str, dict[str, Parts]] = {
    "ATV": {f"alpha {alpha:g}": {"selection": DriftTopK(alpha=alpha)} for alpha in (1.0, 0.5, 2.0, 4.0)},
    "Wanda": {
        "by row": ALL,
        "by layer": ALL | {"pattern": "PerLayer"},
        "OWL": ALL | {"allocation": "OWL"},
        "AlphaPruning": ALL | {"allocation": "AlphaPruning"},
    },
    "SparseGPT": {f"damping {share:g}": ALL | {"criterion": SparseGPT(share)} for share in (0.01, 0.001, 0.1, 1.0)},
    "AMIA": {f"tolerance {share:g}": {"selection": AMIA(tolerance=share)} for share in (0.1, 0.05, 0.2, 0.4)},
    "RIA": {f"power {power:g}": ALL | {"criterion": RIA(power)} for power in (0.5, 0.25, 0.75, 1.0)},
    "TAMP": {f"slack {slack:g}": {"selection": AMIA(), "allocation": DAS(slack)} for slack in (0.1, 0.05, 0.15, 0.2)},
    "PerBlock": {
        pool: {"selection": pool, "pattern": "PerBlock"} for pool in ("DriftTopK", "TextOnly", "AllTokens", "AMIA")
    },
}
# The rivals that each recipe has to beat, and its time limit: a rival, and a multiple of its seconds.
BEATS = {"update": tuple(RIVALS), "masks": ("ATV", "Wanda"), "measured": ("ATV", "Wanda", "SparseGPT")}
COST = {"update": ("SparseGPT", 2.0), "masks": ("ATV", 1.1), "measured": ("SparseGPT", 2.0)}
TASKS, ENGLISH = "the tasks", "plain English"
# A fixed N:M pattern leaves these nothing to distribute. Variants of other methods run without their allocation.
SHARING = ("TAMP", "PerBlock")
# Rungs of the search: all variants, then the best quarter of each method's. Each rung has a number of groups per task
# of dev, and of calibration samples (None: the run's own number).
RUNGS, SAMPLES, QUARTER = (20, 40), (32, None), 4
# Draws different calibration samples than the seeds of test.
SEARCH_SEED = 1000


class Recipes(Ablation):
    """Every method gets the same tuning: eight variants, four of its own on each of two kinds of calibration data.

    On `dev`, at one sparsity, the best quarter of each method's variants advances to twice as many questions and all
    calibration samples. The better of these runs on `test`, with three seeds, at three sparsities and one N:M pattern.
    Variants are ranked by the mean retention of the tasks and, if it is read, of plain English. A quarter advances,
    not a half at a time, because a variant is pruned again for each part of `dev`, which costs more than asking. All
    start with few samples, because the samples' forward passes are most of that cost.
    """

    name = "recipes"
    question = "Which recipe keeps more than every known method, all tuned alike?"
    seeds = 3

    @cached_property
    def _rungs(self) -> list[Suite]:
        """The growing parts of dev that the rungs ask."""
        evaluation = EVERYDAY if self.levels.model == EVERYDAY else BUNDLED
        suites = [questions(evaluation=evaluation, split="dev", groups=groups) for groups in RUNGS]
        return [suite for suite in suites if isinstance(suite, Suite)]

    @cached_property
    def _data(self) -> dict[str, CalibrationData | None]:
        """The model's own data, and a mixture of them with a quarter of plain text of a kind that the model knows."""
        if self.levels.model == EVERYDAY:
            return {"own": None, "own + prose": Mixture([self.calibration_data, EverydayProse()], [3, 1])}
        return {"own": None, "own + facts": Mixture([self.calibration_data, BundledScenes("facts")], [3, 1])}

    def cells(self, seed: int) -> Sequence[Cell]:
        self.levels.require_own_scenes(self.name)
        return [Cell(_labels("dense", "-", "0%", "test"))]

    def later(self, seed: int, results: Results) -> Sequence[Cell]:
        """The next rung of the search that has cells left, then test."""
        finished_titles = {finished_cell.cell.title for finished_cell in results.finished}
        for rung, suite in enumerate(self._rungs):
            rung_cells = [
                cell for cell in self._search_cells(rung, suite, results) if cell.title not in finished_titles
            ]
            if rung_cells:
                return rung_cells
        return self._test_cells(seed, results)

    def _search_cells(self, rung: int, suite: Suite, results: Results) -> list[Cell]:
        dense = Cell(_labels("dense", "-", "0%", _rung(rung)), suite=suite)
        setting = percent(self.levels.middle)
        pruned = [
            self._cell(method, variant, setting, _rung(rung), SEARCH_SEED)
            for method in (*RECIPES, *RIVALS)
            for variant in self.standing(method, rung, results)
        ]
        return [dense, *(replace(cell, suite=suite, samples=SAMPLES[rung]) for cell in pruned)]

    def standing(self, method: str, rung: int, results: Results) -> list[str]:
        """The variants of a method that reach a rung of the search, best first; after the last rung, a single one."""
        if rung == 0:
            return [f"{name}, {data}" for data in self._data for name in _variants(method)]
        candidates = self.standing(method, rung - 1, results)
        setting, asked_on = percent(self.levels.middle), _rung(rung - 1)
        ranked = sorted(candidates, key=lambda variant: -kept(_labels(method, variant, setting, asked_on), results))
        return ranked[: max(len(candidates) // QUARTER, 1)]

    def _test_cells(self, seed: int, results: Results) -> list[Cell]:
        methods = (*RECIPES, *RIVALS)
        chosen = {method: self.standing(method, len(self._rungs), results)[0] for method in methods}
        return [
            self._cell(method, variant, setting, "test", seed)
            for setting in self._settings
            for method, variant in chosen.items()
            if _fits(method, setting)
        ]

    def _cell(self, method: str, variant: str, setting: str, asked: str, seed: int) -> Cell:
        name, data = variant.rsplit(", ", 1)
        parts, options = dict(_variants(method)[name]), self._settings[setting]
        if "pattern" in options:
            parts.pop("allocation", None)
        pruned = {"both": Pathway(**parts | options)}
        labels = _labels(method, variant, setting, asked)
        return Cell(labels, pruned, seed=seed, calibration=self._data[data])

    @property
    def _settings(self) -> dict[str, Parts]:
        return replace(self.levels, compared=self.levels.compared[-3:], patterns=self.levels.patterns[-1:]).settings

    def table(self, results: Results) -> pd.DataFrame:
        """The results on test, with the seconds that pruning took and what the search measured on dev."""
        on_test = _on_test(results)
        table = super().table(on_test).drop(columns="asked")
        seconds, dev_scores = [], []
        for method, variant, setting in zip(table["method"], table["variant"], table["setting"], strict=True):
            pruned = [
                finished_cell.record.seconds["prune"] for finished_cell in on_test.of(method=method, setting=setting)
            ]
            seconds.append(round(sum(pruned) / len(pruned), 1))
            dev_labels = _labels(method, variant, percent(self.levels.middle), _rung(len(self._rungs) - 1))
            dev_scores.append(None if method == "dense" else round(kept(dev_labels, results), 1))
        table.insert(3, "pruned in s", seconds)
        table.insert(4, "kept on dev", dev_scores)
        return table

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        average, settings = averages(table), list(self._settings)
        figure, (search, *panels) = plt.subplots(
            1, len(settings) + 1, figsize=(3 * len(settings) + 3, 4), sharey=True, layout="constrained"
        )
        methods = [*RECIPES, *RIVALS]
        for axes, setting in zip(panels, settings, strict=True):
            rows = average[average["setting"] == setting]
            interval_points(axes, rows, methods, "method")
            axes.set(title=setting, xlabel="average retention on test (%)")
        for rung, color in zip(range(len(self._rungs)), (GREY, TEXT), strict=False):
            for y, method in enumerate(reversed(methods)):
                setting = percent(self.levels.middle)
                kept_on_dev = [
                    kept(_labels(method, variant, setting, _rung(rung)), results)
                    for variant in self.standing(method, rung, results)
                ]
                label = f"{RUNGS[rung]} groups a task" if not y else None
                search.plot(kept_on_dev, [y] * len(kept_on_dev), "o", color=color, markersize=4, label=label)
        search.set(title=f"search on dev, {percent(self.levels.middle)}", xlabel="kept (%)")
        search.legend(frameon=False, fontsize=7)
        finish(search)
        figure.suptitle(f"Every method's best of {len(self._data) * 4} variants, {sample_sizes(average)}", fontsize=10)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        on_test = _on_test(results)
        compared = [
            _beats(on_test, kept_of, recipe, rival, setting)
            for kept_of in ((TASKS, ENGLISH) if on_test.reads else (TASKS,))
            for recipe, rivals in BEATS.items()
            for setting in self._settings
            for rival in rivals
            if _fits(rival, setting)
        ]
        return [*compared, *(_cost(on_test, recipe) for recipe in COST)]


def _labels(method: str, variant: str, setting: str, asked: str) -> Labels:
    return {"method": method, "variant": variant, "setting": setting, "asked": asked}


def _rung(rung: int) -> str:
    return f"dev, {RUNGS[rung]} groups"


def _variants(method: str) -> dict[str, Parts]:
    return (RECIPES | RIVALS)[method]


def _fits(method: str, setting: str) -> bool:
    return ":" not in setting or method not in SHARING


def _on_test(results: Results) -> Results:
    return Results(
        [finished_cell for finished_cell in results.finished if finished_cell.cell.labels["asked"] == "test"]
    )


def kept(labels: Labels, results: Results) -> float:
    """Retention in % of the dense model: the mean of the tasks and, if it is read, plain English."""
    tasks = results.retention(**labels)["average"].value
    if not results.reads:
        return tasks
    (cell,) = results.of(**labels)
    (dense,) = results.of(method="dense", asked=labels["asked"])
    return (tasks + 100 * dense.record.perplexity["all"] / cell.record.perplexity["all"]) / 2


def _beats(results: Results, kept_of: str, recipe: str, rival: str, setting: str) -> Finding:
    recipe_labels, rival_labels = ({"method": method, "setting": setting} for method in (recipe, rival))
    keeps_more = results.keeps_more_english if kept_of == ENGLISH else results.keeps_more
    return keeps_more(
        f"At {setting}, the recipe {recipe!r} keeps more of {kept_of} than {rival}.", recipe_labels, rival_labels
    )


def _cost(results: Results, recipe: str) -> Finding:
    """The finding that a recipe stays within its time limit, with the smallest and largest ratio as its interval."""
    rival, limit = COST[recipe]
    seconds = {
        method: {
            (finished_cell.cell.labels["setting"], finished_cell.cell.seed): finished_cell.record.seconds["prune"]
            for finished_cell in results.of(method=method)
        }
        for method in (recipe, rival)
    }
    ratios = pd.Series({key: seconds[rival][key] / recipe_seconds for key, recipe_seconds in seconds[recipe].items()})
    return Finding(
        f"The recipe {recipe!r} takes less than {limit:g} times {rival}'s seconds.",
        "",
        Estimate(ratios.median(), ratios.min(), ratios.max()),
        f"{rival}'s seconds over the recipe's (least to greatest of settings and seeds)",
        bound=1 / limit,
        count=f"{len(ratios)} prunings",
    )
