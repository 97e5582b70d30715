"""An ablation's finished cells; those that differ only in the seed are taken together."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from atv.ablation.cell import Labels
from atv.ablation.claims import Claims
from atv.ablation.store import FinishedCell
from atv.evaluation.question_sets import Suite
from atv.evaluation.scores import (
    Fluency,
    TaskScore,
    difference,
    gaps_apart,
    on_shared_groups,
    over_seeds,
    retention,
    task_scores,
)
from atv.records.cell_record import ALL, CellRecord
from atv.statistics.estimates import Estimate, TaskPart, mean_estimate, mean_over
from atv.statistics.text_kept import text_kept


class Results(Claims):
    """Results of an ablation, looked up by labels: ``results.retention(method="ATV", setting="50%")``."""

    def __init__(self, finished: Sequence[FinishedCell]) -> None:
        self.finished = list(finished)
        self._scores: dict[str, dict[str, TaskScore]] = {}
        self._retentions: dict[str, dict[str, Estimate]] = {}

    def methods(self) -> Iterator[Labels]:
        """Yields each set of labels once, in the order of the grid."""
        yield from {
            finished_cell.cell.title: dict(finished_cell.cell.labels) for finished_cell in self.finished
        }.values()

    def of(self, **labels: Any) -> list[FinishedCell]:
        """Returns the cells with these labels (other labels may have any value), one per seed.

        Raises:
            ValueError: when there is none.
        """
        cells = [
            finished_cell for finished_cell in self.finished if labels.items() <= finished_cell.cell.labels.items()
        ]
        if not cells:
            titles = "; ".join(finished_cell.cell.title for finished_cell in self.finished)
            raise ValueError(f"labels: no finished cell has {labels}; there are: {titles}")
        return cells

    def dense_on(self, suite: Suite | None) -> dict[str, TaskScore]:
        """Returns the dense model's scores on what cells that name this suite are asked.

        Raises:
            ValueError: when no cell asks the dense model this suite.
        """
        return self._scores_over_seeds([self._dense_cell(suite)])

    @property
    def has_dense(self) -> bool:
        """Whether the dense model was asked, so that retention can be computed."""
        return any(finished_cell.cell.dense and finished_cell.was_asked for finished_cell in self.finished)

    def _dense_scores_for(self, *compared: Sequence[FinishedCell]) -> dict[str, TaskScore]:
        """Returns the dense model's scores on what the compared cells are asked.

        Raises:
            ValueError: for cells of several suites.
        """
        suite = compared[0][0].cell.suite
        if any(finished_cell.cell.suite is not suite for cells in compared for finished_cell in cells):
            raise ValueError("labels: expected cells that are asked the same questions, got cells of several suites")
        return self.dense_on(suite)

    def _dense_cell(self, suite: Suite | None) -> FinishedCell:
        for finished_cell in self.finished:
            if finished_cell.cell.dense and finished_cell.cell.suite is suite:
                return finished_cell
        raise ValueError("cells: retention refers to the dense model, but no cell is dense")

    def scores(self, **labels: Any) -> dict[str, TaskScore]:
        """Returns task -> score over all seeds."""
        return self._scores_over_seeds(self.of(**labels))

    def _scores_over_seeds(self, cells: Sequence[FinishedCell]) -> dict[str, TaskScore]:
        _require_one_method(cells)
        if (key := _cells_key(cells)) not in self._scores:
            self._scores[key] = over_seeds([task_scores(finished_cell.rows) for finished_cell in cells])
        return self._scores[key]

    def retention(self, **labels: Any) -> dict[str, Estimate]:
        """Returns task -> percent of the dense score kept, with "average" among the tasks."""
        cells = self.of(**labels)
        if (key := _cells_key(cells)) not in self._retentions:
            estimates = retention(*on_shared_groups(self._dense_scores_for(cells), self._scores_over_seeds(cells)))
            self._retentions[key] = {
                task: replace(estimate, runs=_titles(cells)) for task, estimate in estimates.items()
            }
        return self._retentions[key]

    def by_seed(self, **labels: Any) -> list[float]:
        """Returns the average retention of each seed on its own."""
        cells = self.of(**labels)
        dense = self._dense_scores_for(cells)
        retentions = [retention(*on_shared_groups(dense, task_scores(finished_cell.rows))) for finished_cell in cells]
        return [seed_retention["average"].value for seed_retention in retentions]

    def difference(self, one: Labels, other: Labels, task: str = "average") -> Estimate:
        """Returns by how many points of retention ``one`` exceeds ``other``, paired on the questions and seeds of both.

        Raises:
            ValueError: when they have no seed in common.
        """
        pair = self._paired(one, other)
        gap = difference(*on_shared_groups(self._dense_scores_for(*pair), *map(self._scores_over_seeds, pair)))[task]
        return replace(gap, runs=_titles([*pair[0], *pair[1]]))

    def gaps_apart(self, wide: tuple[Labels, Labels], narrow: tuple[Labels, Labels]) -> Estimate:
        """Returns by how many points of retention the gap within ``wide`` exceeds the gap within ``narrow``.

        The gap within a pair is by how much its first exceeds its second.

        Raises:
            ValueError: when the four have no seed in common.
        """
        cells = self._paired(*wide, *narrow)
        dense, *scores = on_shared_groups(self._dense_scores_for(*cells), *map(self._scores_over_seeds, cells))
        gap = gaps_apart(dense, scores[:2], scores[2:])["average"]
        return replace(gap, runs=_titles([finished_cell for method_cells in cells for finished_cell in method_cells]))

    def _paired(self, *compared: Labels) -> list[list[FinishedCell]]:
        """Returns, for each of the labels, the cells whose seeds all of them have, in the same order.

        The dense model's only cell goes with any seed.

        Raises:
            ValueError: for labels of several methods, or when there is no seed in common.
        """
        compared_cells = [self.of(**labels) for labels in compared]
        for cells in compared_cells:
            _require_one_method(cells)
        if not all(finished_cell.cell.pathways for cells in compared_cells for finished_cell in cells):
            return compared_cells
        by_seed = [{finished_cell.cell.seed: finished_cell for finished_cell in cells} for cells in compared_cells]
        seeds = [seed for seed in by_seed[0] if all(seed in cells for cells in by_seed)]
        if not seeds:
            raise ValueError(f"difference: {' and '.join(map(str, compared))} have no seed in common")
        return [[cells[seed] for seed in seeds] for cells in by_seed]

    @cached_property
    def reads(self) -> bool:
        """Whether every cell that was asked questions also read plain English."""
        asked_cells = [finished_cell for finished_cell in self.finished if finished_cell.cell.answers]
        return bool(asked_cells) and all(finished_cell.record.perplexity for finished_cell in asked_cells)

    def language(self, **labels: Any) -> dict[str, float]:
        """Returns columns of a table: the perplexity of plain English and the shares of unended and repeating answers.

        The perplexity is the mean of the seeds, the shares are in %. Empty if this was not measured.
        """
        finished_cells = self.of(**labels)
        # Cells that an earlier run measured without reading also serve a run that reads.
        if not self.reads or not all(finished_cell.record.perplexity for finished_cell in finished_cells):
            return {}
        perplexity = float(np.mean([finished_cell.record.perplexity[ALL] for finished_cell in finished_cells]))
        fluency = Fluency.of(pd.concat([finished_cell.rows for finished_cell in finished_cells]))
        unended = np.nan if fluency.unended is None else round(100 * fluency.unended, 1)
        shares = {"unended %": unended, "repeating %": round(100 * fluency.repeating, 1)}
        return {"perplexity": round(perplexity, 2)} | shares

    def english(self, one: Labels, other: Labels) -> Estimate:
        """Returns how many points more of plain English ``one`` keeps, paired on windows of the texts and on seeds.

        A model keeps 100 * the dense model's perplexity / its own, which is what is left of the probability of a token.
        Cells of earlier versions, which stored no windows, give an interval over seeds only.

        Raises:
            ValueError: for cells that read different texts.
        """
        dense, pair = self._dense_cell(None).record, self._paired(one, other)
        one_records, other_records = ([measured.record for measured in cells] for cells in pair)
        if all(record.windows for record in (dense, *one_records, *other_records)):
            gap, spread = mean_over([_english_kept(dense, one_records) - _english_kept(dense, other_records)])
            return Estimate.of(float(gap), spread)
        percents_kept = [
            [100 * dense.perplexity[ALL] / measured.perplexity[ALL] for measured in records]
            for records in (one_records, other_records)
        ]
        return mean_estimate(np.subtract(percents_kept[0], percents_kept[1]))

    def visual_tokens(self, **labels: Any) -> float:
        """Returns the number of visual tokens in a sample's pool, averaged over samples, blocks and seeds."""
        means = [finished_cell.visual_tokens for finished_cell in self.of(**labels) if finished_cell.report]
        return float(np.mean(means)) if means else 0.0

    def count(self, task: str = "average", /, **labels: Any) -> str:
        """Returns what a task's number for these labels rests on, in words; the average rests on all tasks."""
        scores = self.scores(**labels)
        questions = sum(score.questions for name, score in scores.items() if task in (name, "average"))
        return f"{questions:,} questions, {self.seeds(**labels)}"

    def english_count(self, **labels: Any) -> str:
        """Returns what a number for plain English rests on, in words."""
        texts = {name for finished_cell in self.of(**labels) for name in finished_cell.record.perplexity} - {"all"}
        return f"{len(texts)} texts, {self.seeds(**labels)}"

    def seeds(self, **labels: Any) -> str:
        """Returns how many seeds a number for these labels rests on, in words."""
        seeds = len(self.of(**labels))
        return f"{seeds} seed{'s' if seeds > 1 else ''}"


def _english_kept(dense: CellRecord, pruned: Sequence[CellRecord]) -> TaskPart:
    """Returns how much of plain English is kept, by seed."""
    texts_read = [[(text, tokens) for text, _, tokens in record.windows] for record in (dense, *pruned)]
    if any(windows != texts_read[0] for windows in texts_read):
        raise ValueError("plain English: cells read different texts than the dense model; run them again")
    losses = [[loss for _, loss, _ in record.windows] for record in (dense, *pruned)]
    texts, tokens = zip(*texts_read[0], strict=True)
    return text_kept(losses[0], losses[1:], tokens, texts)


def _require_one_method(cells: Sequence[FinishedCell]) -> None:
    if len({finished_cell.cell.title for finished_cell in cells}) > 1:
        raise ValueError(
            f"labels: expected one method, got {'; '.join(finished_cell.cell.title for finished_cell in cells)}"
        )


def _cells_key(cells: Sequence[FinishedCell]) -> str:
    return ", ".join(finished_cell.folder.name for finished_cell in cells)


def _titles(cells: Sequence[FinishedCell]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(finished_cell.cell.title for finished_cell in cells))
