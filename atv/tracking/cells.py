"""An ablation's cells, and its summary, as runs to be logged."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from atv.ablation.base import Ablation
from atv.ablation.levels import percent
from atv.ablation.record import AblationRecord
from atv.ablation.results import Results
from atv.ablation.store import FinishedCell
from atv.evaluation.scores import TaskScore, on_shared_groups, retention, task_scores
from atv.records.cell_record import CELL
from atv.records.digests import content_digest, file_digest
from atv.records.masks import PackedMasks
from atv.records.provenance import provenance
from atv.records.pruning_report import BlockReport
from atv.statistics.estimates import Estimate
from atv.tracking import keys
from atv.tracking.base import Entry

# Labels that may hold a sparsity; 2:4 is another setting.
_SPARSITIES = ("sparsity", "setting")


class CellEntries:
    """The entries of an ablation's cells; what one holds is read when it is asked for.

    Args:
        origin: what the run was given: model, data, numbers of samples and groups.
    """

    def __init__(self, ablation: str, results: Results, origin: Mapping[str, Any]) -> None:
        self.ablation, self.results, self.origin = ablation, results, origin

    def __iter__(self) -> Iterator[tuple[str, FinishedCell]]:
        """Each cell with its run's id, by which a logged one is known before anything is read."""
        dense = next((done.folder.name for done in self.results.finished if done.cell.dense), "")
        for done in self.results.finished:
            yield content_digest([self.ablation, dense, done.folder.name, done.cell.title]), done

    def version(self, done: FinishedCell) -> str:
        """A digest of what a run's numbers rest on: all parts of the cell and of the dense model, as last written."""
        return content_digest([self._dense_files, _files(done)])

    @cached_property
    def _dense_files(self) -> list[list[str]]:
        return [_files(each) for each in self.results.finished if each.cell.dense]

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
            version=self.version(done),
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
        if not self._has_dense:
            return scores, {}
        # A cell whose findings an early look decided was asked fewer groups than the dense model.
        return scores, retention(*on_shared_groups(self.results.dense_on(done.cell.suite), scores))

    @property
    def _has_dense(self) -> bool:
        return any(done.cell.dense and answered(done) for done in self.results.finished)


def _files(done: FinishedCell) -> list[str]:
    """Digests of what a cell and its further parts were last written with."""
    return [file_digest(part.folder / CELL) for part in (done, *done.further)]


def _described(done: FinishedCell) -> dict[str, Any]:
    """What was pruned, as far as a report tells."""
    if done.report:
        return keys.pruned(done.report.plans)
    return keys.pruned({}) if done.cell.dense else {}


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


def block_curves(done: FinishedCell) -> list[dict[str, float]]:
    """The curves of a run, one row a block; none for the dense model."""
    if done.report is None:
        return []
    masks = {pathway: done.masks(pathway) for pathway in done.report.plans}
    return [_row(block, done.record.samples) | _sparsities(block, masks) for block in done.report.blocks]


def _row(block: BlockReport, samples: int) -> dict[str, float]:
    row: dict[str, float] = {keys.BLOCK: block.block, keys.DRIFT: block.mean_drift, keys.SECONDS: block.seconds}
    # W&B takes a dot in a key for a level of nesting.
    for modality, sites in block.norms.items():
        row |= {keys.norm(modality, _split(site)[1].replace(".", "/")): value for site, value in sites.items()}
    for pathway, counts in block.selected.items():
        row |= {keys.selected(pathway, modality): count / samples for modality, count in counts.items()}
    return row


def _sparsities(block: BlockReport, masks: dict[str, PackedMasks]) -> dict[str, float]:
    seen_blocks = {_split(site)[0] for sites in block.norms.values() for site in sites}
    shares = {}
    for pathway, packed in masks.items():
        names = [name for name in packed if _split(name)[0] in seen_blocks]
        shares[keys.block_sparsity(pathway)] = _pruned_share(packed, names)
    return shares


def _pruned_share(masks: PackedMasks, names: list[str]) -> float:
    """Counted on the packed bits, whose padding is 0."""
    packed, shapes = masks.packed, masks.shapes
    kept = sum(int(np.bitwise_count(packed[name].numpy()).sum()) for name in names)
    total = sum(int(np.prod(shapes[name])) for name in names)
    return 1 - kept / total if total else 0.0


def _split(name: str) -> tuple[str, str]:
    """The block's name, which ends with its number in a list of modules, and the name inside it.

    >>> _split("model.language_model.layers.3.self_attn.q_proj")
    ('model.language_model.layers.3', 'self_attn.q_proj')
    """
    matched = re.fullmatch(r"(.*?\d+)\.(\D.*)", name)
    return (matched[1], matched[2]) if matched else ("", name)


def summary_entry(
    ablation: Ablation, results: Results, record: AblationRecord, folder: Path, origin: Mapping[str, Any]
) -> Entry:
    """An entry made of the record and the figure that ``write_results`` left in the ablation's folder."""
    findings = [asdict(each) | {"verdict": each.verdict} for each in record.findings]
    picture = folder / "figure.png"
    verdicts = [finding["verdict"] for finding in findings]
    run = {"name": ablation.name, "question": ablation.question, "paper": ablation.paper, "caption": ablation.caption}
    model = results.finished[0].record.inputs.get("model")
    return Entry(
        id=content_digest([ablation.name, "summary", model]),
        name=f"{ablation.name}: summary",
        group=ablation.name,
        kind="summary",
        config={"ablation": ablation.name, "about": run, "origin": dict(origin)} | provenance(),
        summary={
            "cells": len(results.finished),
            "seeds": len({done.cell.seed for done in results.finished}),
            "seconds/cells": sum(done.seconds for done in results.finished),
            **{f"findings/{verdict}": verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)},
        },
        lines=_lines(results),
        tables={"table": record.table} | ({"findings": _flat(findings)} if findings else {}),
        images={keys.figure(ablation.name): picture},
        version=content_digest([record.table.to_csv(index=False), findings, file_digest(picture)]),
    )


def _lines(results: Results) -> dict[str, dict[float, float]]:
    """Method -> sparsity -> average retention, where there are several sparsities; a method is all other labels."""
    lines: dict[str, dict[float, float]] = {}
    if not any(done.cell.dense and answered(done) for done in results.finished):
        return lines
    for labels in results.methods():
        done = results.of(**labels)[0]
        if done.report is None or not answered(done):
            continue
        sparsity = keys.pruned(done.report.plans)[keys.SPARSITY]
        said = {label for label in _SPARSITIES if labels.get(label) in (sparsity, percent(sparsity))}
        name = ", ".join(str(value) for label, value in labels.items() if label not in said)
        lines.setdefault(name, {})[sparsity] = results.retention(**labels)["average"].value
    return {name: dict(sorted(line.items())) for name, line in lines.items() if len(line) > 1}


def _flat(findings: list[dict[str, Any]]) -> pd.DataFrame:
    """The findings as a table: one row each, its interval in columns of its own."""
    return pd.DataFrame(
        [{**finding, "ours": finding["ours"]["value"], **_interval(finding["ours"])} for finding in findings]
    )


def _interval(ours: Mapping[str, float]) -> dict[str, float]:
    return {"low": ours["low"], "high": ours["high"]}
