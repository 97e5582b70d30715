"""Answers as arrays: a score for each group of questions, and which groups belong together."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from atv.comparison.answers import Answers
from atv.evaluation import metrics
from atv.evaluation.metrics.base import stable_hash
from atv.plugins import resolve
from atv.statistics.paired_scores import Design, Floats


@dataclass(frozen=True)
class Units:
    """Groups of questions, and what several models scored in each.

    Attributes:
        table: one row per group: task, category, cluster, and the stratum whose mean it counts in ("" except for scores
            that are means over categories).
        scores: one array (seeds, groups) per model, 0 to 1.
    """

    table: pd.DataFrame
    scores: tuple[Floats, ...]

    @classmethod
    def of(cls, models: list[Answers], clusters: NDArray[np.int64]) -> Self:
        """Scores each group of questions for each model.

        Args:
            models: models that answered the same questions.
            clusters: cluster of each row of the first model's answers.
        """
        tables: list[pd.DataFrame] = []
        scores: list[list[Floats]] = [[] for _ in models]
        rows = models[0].rows.assign(cluster=clusters)
        for task in models[0].tasks:
            task_rows = rows[rows["task"] == task]
            metric = resolve(task_rows["metric"].iloc[0], metrics.GroupedScore, "metric")
            first_rows = task_rows.drop_duplicates("group").set_index("group")
            # In the order of ``group_values``.
            first_rows = first_rows.loc[sorted(first_rows.index, key=stable_hash)]
            stratum = first_rows["category"] if metric.stratify else ""
            tables.append(first_rows.assign(task=task, stratum=stratum)[["task", "category", "cluster", "stratum"]])
            for model, values in zip(models, scores, strict=True):
                by_seed = [
                    metric.group_values(seed_rows[seed_rows["task"] == task])[0].numpy() for seed_rows in model.by_seed
                ]
                values.append(np.stack(by_seed))
        joined = tuple(np.concatenate(values, axis=1) for values in scores)
        return cls(pd.concat(tables, ignore_index=True), joined)

    def subset(self, inside: NDArray[np.bool_]) -> "Units":
        """Returns only those groups."""
        return Units(self.table[inside].reset_index(drop=True), tuple(values[:, inside] for values in self.scores))

    @property
    def design(self) -> Design:
        """Design of the mean over the tasks' scores."""
        parts, labels = pd.MultiIndex.from_frame(self.table[["task", "stratum"]]).factorize(sort=True)
        tasks = [task for task, _ in labels]
        return Design.of(self.table["cluster"], parts, [1 / tasks.count(task) for task in tasks])
