"""An ablation's cells, as runs to be logged."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from atv.ablation.results import Results
from atv.ablation.store import FinishedCell
from atv.evaluation.scores import TaskScore, retention, task_scores
from atv.records.digests import content_digest
from atv.statistics.estimates import Estimate
from atv.tracking import keys
from atv.tracking.curves import block_curves
from atv.tracking.entry import Entry


class CellEntries:
    """The entries of an ablation's cells; what one holds is read when it is asked for.

    Args:
        origin: what the run was given: model, data, numbers of samples and groups.
    """

    def __init__(self, ablation: str, results: Results, origin: Mapping[str, Any]) -> None:
        self.ablation, self.results, self.origin = ablation, results, origin

    def __iter__(self) -> Iterator[tuple[str, FinishedCell]]:
        """Each cell with its run's id, by which a logged one is known before anything is read."""
        dense = next((done.folder.name for done in self.results.finished if is_dense(done)), "")
        for done in self.results.finished:
            yield content_digest([self.ablation, dense, done.folder.name, done.cell.title]), done

    def entry(self, run_id: str, done: FinishedCell) -> Entry:
        scores, kept = self._scored(done)
        described = _described(done)
        return Entry(
            id=run_id,
            name=f"{done.cell.title}, seed {done.cell.seed}",
            group=self.ablation,
            kind="cell",
            config=self._config(done) | described,
            curves=block_curves(done),
            points=_points(kept, described),
            summary=_by_task(scores, kept) | _counts(scores) | _measured_beside(done),
            tables=_tables(done, scores, kept),
            files=[*done.mask_files, done.folder / "report.json"] if done.mask_files else [],
        )

    def _config(self, done: FinishedCell) -> dict[str, Any]:
        """Labels on top, so that W&B can group and filter by them."""
        record = done.record
        known = {"inputs": record.inputs, **record.made}
        run = {"ablation": self.ablation, "cell": done.folder.name, "origin": dict(self.origin)}
        return dict(done.cell.labels) | dict(record.config) | known | run | {"samples": record.samples}

    def _scored(self, done: FinishedCell) -> tuple[dict[str, TaskScore], dict[str, Estimate]]:
        """Scores and retention by task; empty where no question was asked."""
        if not answered(done):
            return {}, {}
        scores = task_scores(done.rows)
        return scores, retention(self.results.dense_on(done.cell.suite), scores) if self._has_dense else {}

    @property
    def _has_dense(self) -> bool:
        return any(is_dense(done) and answered(done) for done in self.results.finished)


def _described(done: FinishedCell) -> dict[str, Any]:
    """What was pruned, as far as a report tells."""
    if done.report:
        return keys.pruned(done.report.plans)
    return keys.pruned({}) if is_dense(done) else {}


def is_dense(done: FinishedCell) -> bool:
    """Whether it is the dense model that was asked."""
    return not (done.cell.pathways or done.cell.measure)


def answered(done: FinishedCell) -> bool:
    """Whether questions were asked; of others there are no rows, or those of another measurement."""
    return _measured(done) and "credit" in done.rows


def _measured(done: FinishedCell) -> bool:
    return (done.folder / "rows.parquet").is_file()


def _points(kept: Mapping[str, Estimate], described: Mapping[str, Any]) -> dict[str, float]:
    """Average retention by sparsity, once for all runs and once for those that prune the same pathway."""
    if not (kept and described):
        return {}
    pathway = described[keys.PATHWAY].replace(" ", "_")
    average = kept["average"].value
    return {
        keys.SPARSITY: described[keys.SPARSITY],
        keys.AVERAGE: average,
        keys.retention("average", pathway): average,
    }


def _by_task(scores: Mapping[str, TaskScore], kept: Mapping[str, Estimate]) -> dict[str, float]:
    found = {keys.score(task): 100 * score.score for task, score in scores.items()}
    for task, estimate in kept.items():
        key = keys.retention(task)
        found |= {key: estimate.value, f"{key}/low": estimate.low, f"{key}/high": estimate.high}
    return found


def _measured_beside(done: FinishedCell) -> dict[str, float]:
    """Seconds by part, and the perplexity of plain English by text where it was measured."""
    took = {f"seconds/{part}": seconds for part, seconds in done.record.seconds.items()}
    return took | {f"perplexity/{text}": value for text, value in done.record.perplexity.items()}


def _counts(scores: Mapping[str, TaskScore]) -> dict[str, int]:
    if not scores:
        return {}
    return {
        "questions": sum(score.questions for score in scores.values()),
        "groups": sum(score.groups for score in scores.values()),
    }


def _tables(
    done: FinishedCell, scores: Mapping[str, TaskScore], kept: Mapping[str, Estimate]
) -> dict[str, pd.DataFrame]:
    """Scores by task with their counts; of a cell measured in another way, its rows."""
    if not scores:
        return {"rows": done.rows} if _measured(done) else {}
    rows = [
        {"task": task, "score": 100 * score.score, "groups": score.groups, "questions": score.questions}
        | ({"retention": kept[task].value, "low": kept[task].low, "high": kept[task].high} if task in kept else {})
        for task, score in scores.items()
    ]
    return {"tasks": pd.DataFrame(rows)}
