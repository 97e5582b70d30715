"""Entries for the cells of an ablation."""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from atv.ablation.results import Results
from atv.ablation.store import FinishedCell
from atv.evaluation.scores import TaskScore, on_shared_groups, retention, task_scores
from atv.records.cell_record import CELL
from atv.records.digests import content_digest, file_digest
from atv.records.masks import PackedMasks
from atv.records.pruning_report import REPORT, BlockReport
from atv.statistics.estimates import Estimate
from atv.tracking import keys
from atv.tracking.base import Entry


class CellEntries:
    """The entries of an ablation's cells; the content of an entry is read on request.

    Args:
        origin: inputs of the ablation: model, data, numbers of samples and groups.
    """

    def __init__(self, ablation: str, results: Results, origin: Mapping[str, Any]) -> None:
        self.ablation, self.results, self.origin = ablation, results, origin

    def by_run_id(self) -> dict[str, FinishedCell]:
        """Returns the cells by run id, so that logged cells are recognized before anything is read."""
        dense_folder = next((finished.folder.name for finished in self.results.finished if finished.cell.dense), "")
        return {
            content_digest([self.ablation, dense_folder, finished.folder.name, finished.cell.title]): finished
            for finished in self.results.finished
        }

    def version(self, finished_cell: FinishedCell) -> str:
        """Returns a digest of everything a run's numbers depend on: all parts of the cell and of the dense model."""
        return content_digest([self._dense_record_digests, _record_digests(finished_cell)])

    @cached_property
    def _dense_record_digests(self) -> list[list[str]]:
        return [_record_digests(finished_cell) for finished_cell in self.results.finished if finished_cell.cell.dense]

    def entry(self, run_id: str, finished_cell: FinishedCell) -> Entry:
        scores, retentions = self._scores_and_retentions(finished_cell)
        pruning = _pruning_columns(finished_cell)
        return Entry(
            id=run_id,
            name=f"{finished_cell.cell.title}, seed {finished_cell.cell.seed}",
            group=self.ablation,
            kind="cell",
            config=self._config(finished_cell) | pruning,
            curves=block_curves(finished_cell),
            points=_points(retentions, pruning),
            summary=_task_numbers(scores, retentions) | _counts(scores) | _seconds_and_perplexity(finished_cell),
            tables=_tables(finished_cell, scores, retentions),
            files=[*finished_cell.mask_files, finished_cell.folder / REPORT] if finished_cell.mask_files else [],
            version=self.version(finished_cell),
        )

    def _config(self, finished_cell: FinishedCell) -> dict[str, Any]:
        """Returns the run's config, with the labels at the top level so that W&B can group and filter by them."""
        record = finished_cell.record
        provenance = {"inputs": record.inputs, **record.made}
        run = {"ablation": self.ablation, "cell": finished_cell.folder.name, "origin": dict(self.origin)}
        return dict(finished_cell.cell.labels) | dict(record.config) | provenance | run | {"samples": record.samples}

    def _scores_and_retentions(self, finished_cell: FinishedCell) -> tuple[dict[str, TaskScore], dict[str, Estimate]]:
        """Returns scores and retention by task; empty if no question was asked."""
        if not finished_cell.was_asked:
            return {}, {}
        scores = task_scores(finished_cell.rows)
        if not self.results.has_dense:
            return scores, {}
        # If an early look decided a cell's findings, the cell was asked fewer groups than the dense model.
        return scores, retention(*on_shared_groups(self.results.dense_on(finished_cell.cell.suite), scores))


def _record_digests(finished_cell: FinishedCell) -> list[str]:
    """Returns digests of the records of a cell and its further parts."""
    return [file_digest(part.folder / CELL) for part in (finished_cell, *finished_cell.further)]


def _pruning_columns(finished_cell: FinishedCell) -> dict[str, Any]:
    """Returns what was pruned, as far as the report says."""
    if finished_cell.report:
        return keys.pruned(finished_cell.report.plans)
    return keys.pruned({}) if finished_cell.cell.dense else {}


def _points(retentions: Mapping[str, Estimate], pruning: Mapping[str, Any]) -> dict[str, float]:
    """Returns sparsity and average retention, under a key for all runs and one for runs that prune the same pathway."""
    if not (retentions and pruning):
        return {}
    pathway = pruning[keys.PATHWAY].replace(" ", "_")
    average = retentions["average"].value
    return {
        keys.SPARSITY: pruning[keys.SPARSITY],
        keys.AVERAGE: average,
        keys.retention("average", pathway): average,
    }


def _task_numbers(scores: Mapping[str, TaskScore], retentions: Mapping[str, Estimate]) -> dict[str, float]:
    numbers = {keys.score(task): 100 * score.score for task, score in scores.items()}
    for task, estimate in retentions.items():
        key = keys.retention(task)
        numbers |= {key: estimate.value, f"{key}/low": estimate.low, f"{key}/high": estimate.high}
    return numbers


def _seconds_and_perplexity(finished_cell: FinishedCell) -> dict[str, float]:
    """Returns seconds by part and, if it was measured, the perplexity of plain English by text."""
    seconds_by_part = {f"seconds/{part}": seconds for part, seconds in finished_cell.record.seconds.items()}
    return seconds_by_part | {f"perplexity/{text}": value for text, value in finished_cell.record.perplexity.items()}


def _counts(scores: Mapping[str, TaskScore]) -> dict[str, int]:
    if not scores:
        return {}
    return {
        "questions": sum(score.questions for score in scores.values()),
        "groups": sum(score.groups for score in scores.values()),
    }


def _tables(
    finished_cell: FinishedCell, scores: Mapping[str, TaskScore], retentions: Mapping[str, Estimate]
) -> dict[str, pd.DataFrame]:
    """Returns a table of scores and counts by task or, if a cell was measured in a different way, its rows."""
    if not scores:
        return {"rows": finished_cell.rows} if finished_cell.has_rows else {}
    rows = [
        {"task": task, "score": 100 * score.score, "groups": score.groups, "questions": score.questions}
        | (
            {"retention": retentions[task].value, "low": retentions[task].low, "high": retentions[task].high}
            if task in retentions
            else {}
        )
        for task, score in scores.items()
    ]
    return {"tasks": pd.DataFrame(rows)}


def block_curves(finished_cell: FinishedCell) -> list[dict[str, float]]:
    """Returns the curves of a run, one row per block; empty for the dense model."""
    if finished_cell.report is None:
        return []
    masks = {pathway: finished_cell.masks(pathway) for pathway in finished_cell.report.plans}
    return [
        _block_row(block, finished_cell.record.samples) | _block_sparsities(block, masks)
        for block in finished_cell.report.blocks
    ]


def _block_row(block: BlockReport, samples: int) -> dict[str, float]:
    row: dict[str, float] = {keys.BLOCK: block.block, keys.DRIFT: block.mean_drift, keys.SECONDS: block.seconds}
    # W&B interprets a dot in a key as nesting.
    for modality, sites in block.norms.items():
        row |= {keys.norm(modality, _split(site)[1].replace(".", "/")): value for site, value in sites.items()}
    for pathway, counts in block.selected.items():
        row |= {keys.selected(pathway, modality): count / samples for modality, count in counts.items()}
    return row


def _block_sparsities(block: BlockReport, masks: dict[str, PackedMasks]) -> dict[str, float]:
    seen_blocks = {_split(site)[0] for sites in block.norms.values() for site in sites}
    shares = {}
    for pathway, packed in masks.items():
        names = [name for name in packed if _split(name)[0] in seen_blocks]
        shares[keys.block_sparsity(pathway)] = _pruned_share(packed, names)
    return shares


def _pruned_share(masks: PackedMasks, names: list[str]) -> float:
    """Returns the share of pruned weights, counted on the packed bits, whose padding is 0."""
    packed, shapes = masks.packed, masks.shapes
    kept_weights = sum(int(np.bitwise_count(packed[name].numpy()).sum()) for name in names)
    all_weights = sum(int(np.prod(shapes[name])) for name in names)
    return 1 - kept_weights / all_weights if all_weights else 0.0


def _split(name: str) -> tuple[str, str]:
    """Splits a name into that of its block, which ends with the number in a list of modules, and the rest.

    >>> _split("model.language_model.layers.3.self_attn.q_proj")
    ('model.language_model.layers.3', 'self_attn.q_proj')
    """
    matched = re.fullmatch(r"(.*?\d+)\.(\D.*)", name)
    return (matched[1], matched[2]) if matched else ("", name)
