"""Runs what is missing of an ablation's grid, then writes its table, figure and W&B run."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import lightning as L
from datasets import Dataset
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import PreTrainedModel, ProcessorMixin

from atv.ablation.base import Ablation, Cell
from atv.ablation.store import CellStore, FinishedCell, model_digest, questions_digest
from atv.api import decouple, prune
from atv.data.conversations import calibration_batches
from atv.evaluation.generation import answer
from atv.evaluation.questions import QuestionBatch, question_batches, see_once
from atv.evaluation.scores import retention, task_scores
from atv.fingerprint import tensors_digest
from atv.lvlm import LVLM
from atv.provenance import git_revision, hardware, versions
from atv.report import PruningReport
from atv.trainer import quiet_trainer


@dataclass(frozen=True)
class Bench:
    """What every cell of a run shares: the dense model, what it is calibrated on and what it is asked."""

    model: PreTrainedModel
    processor: ProcessorMixin
    calibration: Sequence[Mapping[str, Any]]
    questions: Sequence[QuestionBatch]
    max_new_tokens: int

    @classmethod
    def of(
        cls,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        calibration: Dataset,
        evaluation: Dataset,
        samples: int,
        groups: int | None,
        seed: int,
        max_new_tokens: int,
    ) -> "Bench":
        """Encodes both data sets; the vision tower, which no cell changes, sees every picture once."""
        batches = calibration_batches(processor, calibration, samples, seed)
        asked = question_batches(processor, evaluation, groups=groups)
        return cls(model, processor, batches, asked, max_new_tokens)


def run_cell(cell: Cell, bench: Bench, seen: Sequence[QuestionBatch], trainer: L.Trainer) -> FinishedCell:
    """Prunes a copy of the dense model as the cell says, and asks it every question."""
    start = perf_counter()
    report: PruningReport | None = None
    model = bench.model
    if cell.pathways:
        model = copy.deepcopy(bench.model)
        shared: dict[str, Any] = {
            "targets": cell.targets,
            "propagate": cell.propagate,
            "seed": cell.seed,
            "trainer": trainer,
        }
        if "both" in cell.pathways:
            report = prune(model, bench.calibration, **vars(cell.pathways["both"]), **shared)
        else:
            text, visual = cell.pathways["text"], cell.pathways["visual"]
            report = decouple(model, bench.calibration, text=text, visual=visual, **shared)
    pruned = perf_counter()
    answers = answer(model, bench.processor, seen, bench.max_new_tokens, trainer)
    seconds = {"prune": pruned - start, "evaluate": perf_counter() - pruned}
    record = {"seconds": seconds, "versions": versions(), "git": git_revision(), "hardware": hardware()}
    return FinishedCell(cell, answers, report.as_dict() if report else None, record)


def run_ablation(
    ablation: Ablation, bench: Bench, model_folder: Path, results: Path, seed: int, trainer: L.Trainer | None = None
) -> list[FinishedCell]:
    """All cells of the grid, finished ones from disk; one line a cell.

    A cell counts as finished once its folder has its name, so a killed run goes on where it stopped.
    """
    digests = tensors_digest(bench.calibration), questions_digest(bench.questions)
    store = CellStore(results / ablation.name, model_digest(model_folder), *digests)
    trainer = trainer or quiet_trainer(enable_progress_bar=False)
    cells = ablation.cells(seed)
    console = Console(quiet=not trainer.is_global_zero)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    finished: list[FinishedCell] = []
    seen: Sequence[QuestionBatch] = []
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(ablation.name, total=len(cells))
        for cell in cells:
            progress.update(task, description=f"{ablation.name}: {cell.title}")
            done = store.load(cell)
            source = "from disk" if done else ""
            if done is None:
                seen = seen or see_once(LVLM.of(bench.model), bench.questions)
                done = run_cell(cell, bench, seen, trainer)
                if trainer.is_global_zero:
                    store.save(done)
                trainer.strategy.barrier()
            finished.append(done)
            progress.console.print(_line(done, finished[0], source), highlight=False, soft_wrap=True)
            progress.advance(task)
    return finished


def _line(done: FinishedCell, dense: FinishedCell, source: str) -> str:
    kept = retention(task_scores(dense.answers), task_scores(done.answers))["average"]
    seconds = sum(done.record["seconds"].values())
    return (
        f"{done.cell.title:36s} keeps {kept.value:6.2f}% [{kept.low:6.2f}, {kept.high:6.2f}] "
        f"of {len(done.answers)} questions' score, {seconds:5.1f} s {source}"
    )
