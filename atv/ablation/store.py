"""Finished cells on disk: results/cells/<id>/{cell.json, rows.parquet, report.json, masks*.safetensors}."""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from atv.ablation.bench import Bench
from atv.ablation.cell import Cell
from atv.ablation.measuring import Measured
from atv.evaluation.answer_tables import Scored, checked_answers, read_rows
from atv.evaluation.identity import asked_with
from atv.evaluation.metrics import GroupedScore
from atv.evaluation.questions import PICTURE_ALONE
from atv.everyday.plain_english import TextLoss, perplexities
from atv.plugins import codes, find
from atv.records.cell_record import CELL, CELL_SCHEMA, ROWS, CellRecord, Window
from atv.records.digests import content_digest, without_origin
from atv.records.files import clear_abandoned, writer
from atv.records.masks import PackedMasks, load_masks
from atv.records.provenance import provenance
from atv.records.pruning_report import BOTH, REPORT, PruningReport, masks_file


@dataclass(frozen=True)
class FinishedCell:
    """A cell and the folder that holds its result; files are read only when they are needed.

    ``further`` holds the same cell's results on further questions.
    """

    cell: Cell
    folder: Path
    further: tuple["FinishedCell", ...] = ()

    @cached_property
    def record(self) -> CellRecord:
        """What the cell is, and how long it took."""
        return CellRecord.read(self.folder)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The answers, one row per question, or the rows of another measurement of the ablation."""
        file = self.folder / ROWS
        own_rows = checked_answers(read_rows(file), file, Scored) if self.cell.answers else read_rows(file)
        return (
            pd.concat([own_rows, *(further_cell.rows for further_cell in self.further)], ignore_index=True)
            if self.further
            else own_rows
        )

    @property
    def has_rows(self) -> bool:
        """Whether questions were asked or another measurement has rows."""
        return (self.folder / ROWS).is_file()

    @property
    def was_asked(self) -> bool:
        """Whether questions were asked; rows of another measurement have no credit."""
        return self.has_rows and "credit" in self.rows

    @cached_property
    def report(self) -> PruningReport | None:
        """The pruning report; None for the dense model."""
        return PruningReport.read(self.folder) if (self.folder / REPORT).is_file() else None

    @property
    def seconds(self) -> float:
        """Wall-clock time of all parts together."""
        return sum(self.record.seconds.values()) + sum(further_cell.seconds for further_cell in self.further)

    @property
    def visual_tokens(self) -> float:
        """Number of visual tokens in a sample's pool, averaged over blocks and samples."""
        if self.report is None:
            raise ValueError(f"{self.cell.title}: nothing was pruned, so no tokens were selected")
        if not (blocks := self.report.blocks) or not self.record.samples:
            raise ValueError(f"{self.folder}: its report has no blocks, or its cell.json no samples")
        selected = sum(count["visual"] for block in blocks for count in block.selected.values())
        return selected / len(blocks) / self.record.samples

    def masks(self, pathway: str = BOTH) -> PackedMasks:
        """Returns the masks of a pathway."""
        return load_masks(self.folder / masks_file(pathway))

    @property
    def mask_files(self) -> list[Path]:
        return sorted(self.folder.glob("masks*.safetensors"))


class CellStore:
    """Cells on disk, named by everything that affects their numbers, so that all ablations share common cells.

    Args:
        folder: folder that holds the cells.
        model: digest of the dense model.
        asked_from: where the questions can be found again, for the record.
    """

    def __init__(self, folder: Path, model: str, bench: Bench, asked_from: Mapping[str, Any] | None = None) -> None:
        self.folder, self.model, self.bench, self.asked_from = folder, model, bench, asked_from or {}
        clear_abandoned(folder, ".writing.*")
        self._digest_of_questions = cache(_questions_digest)
        self.questions = self._digest_of_questions(bench)

    def asked(self, cell: Cell) -> dict[str, Any]:
        """Returns how the cell is asked, with the length of answers by task, and where to find its questions again."""
        prompt_sets = self.bench.of(cell).prompt_sets
        lengths = {
            question["task"]: prompt_set.max_new_tokens
            for prompt_set in prompt_sets
            for batch in prompt_set.batches
            for question in batch.questions
        }
        suite = cell.suite
        source = self.asked_from if suite is None else suite.source
        settings = asked_with(self.bench.model, self.bench.processor, lengths) if lengths else {}
        return {"asked_with": settings, "asked_from": source}

    def inputs(self, cell: Cell) -> dict[str, str]:
        """Returns digests of what the cell is given; a dense model that is only asked questions is not calibrated."""
        bench = self.bench.of(cell)
        lengths = ",".join(str(prompt_set.max_new_tokens) for prompt_set in bench.prompt_sets)
        digests = {"model": self.model, "questions": self._digest_of_questions(bench), "max_new_tokens": lengths}
        if cell.pathways or cell.measure:
            digests["calibration"] = self.bench.calibration_digest(cell)
        return digests

    def id_of(self, cell: Cell) -> str:
        return content_digest([CELL_SCHEMA, cell.config(), self.inputs(cell)])

    def load(self, cell: Cell, ablation: str = "") -> FinishedCell | None:
        """Returns the finished cell, or None.

        A result on disk does not count if the cell is to be asked and was not, if it is to read plain English and did
        not, or if an ablation other than ``ablation`` measured it.
        """
        finished_cell = FinishedCell(cell, self.folder / self.id_of(cell))
        if not (finished_cell.folder / CELL).is_file() or (cell.asked and not finished_cell.has_rows):
            return None
        if cell.measure and not _is_measured(finished_cell.record, cell, ablation):
            return None
        return finished_cell if finished_cell.record.perplexity or not (self.bench.language and cell.answers) else None

    def save(self, cell: Cell, measured: Measured, ablation: str = "") -> None:
        """Writes all files to a hidden folder, which is then renamed to the cell's id; ``ablation`` measured it."""
        final_folder = self.folder / self.id_of(cell)
        self.folder.mkdir(parents=True, exist_ok=True)
        hidden_folder = Path(tempfile.mkdtemp(dir=self.folder, prefix=f".writing.{writer()}-"))
        try:
            if measured.rows is not None:
                measured.rows.to_parquet(hidden_folder / ROWS, index=False)
            if measured.report is not None:
                measured.report.write(hidden_folder)
                measured.report.write_masks(hidden_folder)
            CellRecord(
                final_folder.name,
                cell.config(),
                cell.labels,
                self.inputs(cell),
                seconds=measured.seconds,
                samples=cell.samples or self.bench.samples,
                made=provenance(),
                perplexity=perplexities(measured.english) if measured.english else {},
                windows=_windows(measured.english),
                ablation=ablation if cell.measure else "",
                **(self.asked(cell) if cell.answers else {}),
            ).write(hidden_folder)
            shutil.rmtree(final_folder, ignore_errors=True)
            hidden_folder.rename(final_folder)
        finally:
            shutil.rmtree(hidden_folder, ignore_errors=True)

    def cells_of_other_runs(self, in_parts: bool = False) -> dict[str, list[str]]:
        """Returns ids of cells that cannot belong to this run, by what differs: schema, model or questions.

        Questions of a suite or split other than the run's do not count: a cell may have its own suite.

        Args:
            in_parts: whether the run asks its suite part by part, so that this store does not have all questions.
        """
        ids_by_reason: dict[str, list[str]] = {}
        for file in sorted(self.folder.glob(f"[!.]*/{CELL}")):
            record = CellRecord.read(file.parent)
            own_inputs = {"model": self.model}
            if record.asked_from in ({}, self.asked_from) and not in_parts:
                own_inputs["questions"] = self.questions
            differences = [
                f"different {name}" for name, value in own_inputs.items() if record.inputs.get(name) != value
            ]
            if record.schema != CELL_SCHEMA:
                differences = [f"schema {record.schema}, not {CELL_SCHEMA}"]
            if differences:
                ids_by_reason.setdefault(", ".join(differences), []).append(file.parent.name)
        return ids_by_reason


def _is_measured(record: CellRecord, cell: Cell, ablation: str) -> bool:
    """Returns whether the ablation itself measured it under these labels; earlier versions did not record that."""
    return record.ablation in ("", ablation) and content_digest(record.labels) == content_digest(cell.labels)


def _windows(english: Mapping[str, Sequence[TextLoss]]) -> list[Window]:
    return [(text, window.loss, window.tokens) for text, windows in english.items() for window in windows]


def _questions_digest(bench: Bench) -> str:
    """Returns a digest of questions and right answers, and of the code of metrics outside of installed packages."""
    questions = bench.questions
    identities = [without_origin(question, PICTURE_ALONE) for question in questions]
    metrics = sorted({question["metric"] for question in questions})
    metric_codes = codes(find(metric, GroupedScore, "metric") for metric in metrics)
    return content_digest(
        [sorted(identities, key=lambda question: question["question_id"]), *([metric_codes] if metric_codes else [])]
    )


def folder_digest(folder: Path) -> str:
    """Returns a digest of a model's folder: its config and all weight files."""
    state = hashlib.blake2b(digest_size=8)
    for file in sorted([folder / "config.json", *folder.glob("*.safetensors")]):
        with open(file, "rb") as stream:
            hashlib.file_digest(stream, lambda: state)
    return state.hexdigest()
