"""Compares models with the first one: differences in scores, changed answers, and the certainty of both."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from atv.comparison.alike import check_alike
from atv.comparison.answers import Answers
from atv.comparison.units import Units
from atv.evaluation.clusters import clusters_of
from atv.evaluation.scores import Fluency
from atv.statistics.paired_scores import Effect, corrected, paired

Mask = NDArray[np.bool_]
_EPSILON = 1e-9


@dataclass(frozen=True)
class Flips:
    """Changes of answers; each number is a mean over the pairs of seeds.

    Attributes:
        lost, gained: number of questions whose credit fell, and rose.
        agreement: share of the questions with the same answer as the first model's, as the score reads it.
    """

    lost: float
    gained: float
    agreement: float


@dataclass(frozen=True)
class Compared:
    """A model compared with the first, on all tasks (``task`` is "average"), on one task, or on one of its categories.

    Attributes:
        first, second: scores in percent; for the average, the mean over tasks.
        effect: second minus first, in points.
        corrected: p-value after Holm's correction, over all rows of the same kind in this call: averages, tasks, or
            categories.
        groups, questions: how many were asked.
    """

    model: str
    task: str
    category: str
    first: float
    second: float
    effect: Effect
    corrected: float
    groups: int
    questions: int
    flips: Flips


@dataclass(frozen=True)
class Comparison:
    """The result of ``atv.compare``.

    Attributes:
        models: the first model, and those that are compared with it.
        rows: for each model after the first, its average, its tasks, and the categories of tasks that have several.
    """

    models: Sequence[Answers]
    rows: Sequence[Compared]

    @classmethod
    def of(cls, models: Sequence[Answers]) -> Self:
        """Compares models with the first one.

        Raises:
            ValueError: for fewer than two models, or models that were not asked alike.
        """
        if len(models) < 2:
            raise ValueError("folders: expected two or more to compare")
        for other in models[1:]:
            check_alike(models[0], other)
        named_models = _named_apart(models)
        units = Units.of(named_models, clusters_of(named_models[0].rows))
        pairs = [_Beside(named_models[0], other, index, units) for index, other in enumerate(named_models) if index]
        rows = [row for pair in pairs for row in pair.rows()]
        return cls(named_models, _corrected(rows))

    @cached_property
    def fluency(self) -> dict[str, Fluency]:
        """Model -> how its answers end."""
        return {model.name: Fluency.of(pd.concat(model.by_seed)) for model in self.models}

    @property
    def unrecorded(self) -> list[str]:
        """Names of models for which it was not recorded how they were asked."""
        return [model.name for model in self.models if not (model.asked_with or model.inputs)]

    @property
    def pictured(self) -> bool:
        """Whether it is known which questions share a picture."""
        return "picture" in self.models[0].rows

    @cached_property
    def flipped(self) -> pd.Series:
        """Whether some model answered a question better or worse than the first, one row per question.

        If there are several seeds, this is about the first.
        """
        first = self.models[0]
        flips = [changes(first.rows, other.rows)[["lost", "gained"]] for other in self.models[1:]]
        return pd.concat(flips, axis=1).any(axis=1)

    def of_kind(self, kind: str) -> list[Compared]:
        """Returns the rows of averages, tasks or categories."""
        return [row for row in self.rows if _row_kind(row) == kind]


def _named_apart(models: Sequence[Answers]) -> list[Answers]:
    """Gives the models names that tell them apart."""
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        names = [", ".join(model.sources) for model in models]
    if len(set(names)) < len(names):
        raise ValueError(f"folders: {max(names, key=names.count)!r} appears twice")
    return [replace(model, name=name) for model, name in zip(models, names, strict=True)]


@dataclass(frozen=True)
class _Beside:
    """A model compared with the first; ``score_index`` is its index among the scores of the units."""

    first: Answers
    other: Answers
    score_index: int
    units: Units

    def rows(self) -> Iterator[Compared]:
        """Yields the average, each task, and the task's categories if there are several."""
        table, rows = self.units.table, self.first.rows
        yield self._row("average", "", np.ones(len(table), bool), np.ones(len(rows), bool))
        for task in self.first.tasks:
            group_mask, question_mask = (table["task"] == task).to_numpy(), (rows["task"] == task).to_numpy()
            yield self._row(task, "", group_mask, question_mask)
            categories = sorted(set(table.loc[group_mask, "category"]))
            for category in categories if len(categories) > 1 else ():
                category_mask = group_mask & (table["category"] == category).to_numpy()
                yield self._row(
                    task, category, category_mask, question_mask & (rows["category"] == category).to_numpy()
                )

    def _row(self, task: str, category: str, group_mask: Mask, question_mask: Mask) -> Compared:
        """Compares the scores on some groups of questions.

        Args:
            group_mask: which groups count (groups,).
            question_mask: which questions are in these groups (questions,).
        """
        units = self.units.subset(group_mask)
        design, first_scores, other_scores = units.design, 100 * units.scores[0], 100 * units.scores[self.score_index]
        effect = paired(first_scores, other_scores, design, same_seeds=same_seeds(self.first, self.other))
        return Compared(
            model=self.other.name,
            task=task,
            category=category,
            first=design.number(first_scores),
            second=design.number(other_scores),
            effect=effect,
            corrected=effect.p,
            groups=len(units.table),
            questions=int(question_mask.sum()),
            flips=self._changed.within(question_mask),
        )

    @cached_property
    def _changed(self) -> "_Changed":
        return _Changed.of(self.first, self.other)


def same_seeds(first: Answers, other: Answers) -> bool:
    """Returns whether both were pruned with the same seeds, in the same order."""
    return len(first.seeds) > 1 and None not in first.seeds and first.seeds == other.seeds


def seed_pairs(first: Answers, other: Answers) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Returns the pairs of answers to compare: those of equal seeds, or all with all."""
    pairing = zip if same_seeds(first, other) else product
    return list(pairing(first.by_seed, other.by_seed))


@dataclass(frozen=True)
class _Changed:
    """Whether each question was lost, gained, or answered the same, for each pair of seeds: (pairs, questions)."""

    lost: Mask
    gained: Mask
    same: Mask

    @classmethod
    def of(cls, first: Answers, other: Answers) -> Self:
        changes_by_pair = [changes(before, after) for before, after in seed_pairs(first, other)]
        return cls(
            *(
                np.stack([pair_changes[name].to_numpy() for pair_changes in changes_by_pair])
                for name in ("lost", "gained", "same")
            )
        )

    def within(self, question_mask: Mask) -> Flips:
        lost, gained = (float(mask[:, question_mask].sum(1).mean()) for mask in (self.lost, self.gained))
        return Flips(lost, gained, float(self.same[:, question_mask].mean()))


def changes(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Returns columns lost, gained and same for two tables of answers to the same questions."""
    credit_change = after["credit"] - before["credit"]
    same_reading = before["read"].notna() & (before["read"] == after["read"])
    same_text = before["prediction"].str.strip() == after["prediction"].str.strip()
    return pd.DataFrame(
        {"lost": credit_change < -_EPSILON, "gained": credit_change > _EPSILON, "same": same_reading | same_text}
    )


def _row_kind(row: Compared) -> str:
    return "categories" if row.category else "averages" if row.task == "average" else "tasks"


def _corrected(rows: Sequence[Compared]) -> list[Compared]:
    p_by_row: dict[int, float] = {}
    for kind in ("averages", "tasks", "categories"):
        indices = [index for index, row in enumerate(rows) if _row_kind(row) == kind]
        p_values = corrected([rows[index].effect.p for index in indices], "any false one")
        p_by_row |= dict(zip(indices, p_values, strict=True))
    return [replace(row, corrected=p_by_row[index]) for index, row in enumerate(rows)]
