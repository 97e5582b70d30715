"""A grid of cells: the model, the calibration data, the questions, and the folder that keeps the cells."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L

from atv.ablation.base import Ablation
from atv.ablation.bench import Bench, prompt_sets_of
from atv.ablation.checking import require_fit
from atv.ablation.deciding import Decided, Decider, looks
from atv.ablation.measuring import require_english
from atv.ablation.record import AblationRecord
from atv.ablation.results import Results
from atv.ablation.runner import CellOutcomes, run_ablation
from atv.ablation.shard import Shard
from atv.ablation.store import CellStore, folder_digest
from atv.ablation.writing import write_results
from atv.api import load, questions
from atv.bundled import BUNDLED
from atv.data import CalibrationData
from atv.data.sources import load_calibration, own_data
from atv.evaluation.identity import answer_settings
from atv.evaluation.picture_bounds import bound_pixels
from atv.evaluation.question_sets import Benchmarks, Questions, Suite
from atv.model.loading import model_folder
from atv.plugins import at_least
from atv.records.digests import content_digest
from atv.records.files import from_here, writable


class AblationOutcome(NamedTuple):
    """An ablation, what became of its cells, and, if no more is asked than verdicts need, how far it is decided."""

    ablation: Ablation
    cells: CellOutcomes
    decided: Decided | None


class Written(NamedTuple):
    """What was written for an ablation: the record, the results that it was made from, the folder, and how the cells
    came about."""

    record: AblationRecord
    results: Results
    folder: Path
    origin: dict[str, Any]


@dataclass(frozen=True)
class GridSettings:
    """What every cell of a grid is given and asked, and where cells are kept.

    Attributes:
        min_pixels: Smallest area of a picture in pixels, in calibration and evaluation (for processors of Qwen-VL's
            kind).
        max_pixels: Largest area of a picture in pixels, in calibration and evaluation. Default of both: on benchmarks
            what lmms-eval sets for the model's type, otherwise what the processor says.
        groups: Number of groups of questions that each task or benchmark is asked, from the first; null for all. A
            group is a question with its rotations or its pair.
        max_new_tokens: Maximum length of an answer in tokens. Default: 8 for the suite, each benchmark's own length for
            benchmarks.
        language: Whether cells also measure how much language is left: the perplexity of plain English, and how many
            answers did not end or only repeat themselves.
        seed: Number that fixes every random draw, of the samples and inside rules; the first of several seeds.
        seeds: Number of seeds of every cell, counted from the first; 0 leaves out cells that no finding rests on.
        claimed_seeds: Number of seeds of the dense model and the cells that findings rest on. Default: each
            ablation's own number, 1 to 5.
        results: Folder that holds the cells and all ablations' folders.
    """

    model: str = BUNDLED
    calibration: str | CalibrationData | None = None
    samples: int = 128
    max_length: int | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None
    evaluation: str | None = None
    split: str | None = None
    benchmark: list[str] | str | None = None
    data: Path | None = None
    groups: int | None = 50
    max_new_tokens: int | None = None
    language: bool = False
    seed: int = 0
    seeds: int = 1
    claimed_seeds: int | None = None
    results: Path = Path("results")
    trust_remote_code: bool = False

    def asked(self) -> Questions:
        """Returns the questions that every cell is asked.

        Raises:
            ValueError: as ``atv.questions`` does.
        """
        suite = self.evaluation or (own_data(self.model) if self.benchmark is None else None)
        options: dict[str, Any] = {"data": self.data, "evaluation": suite, "split": self.split, "groups": self.groups}
        return questions(self.benchmark, **options)

    def calibrated_on(self) -> str | CalibrationData:
        """Returns the data that calibrate cells which name none: by default the model's own data."""
        return own_data(self.model) if self.calibration is None else self.calibration

    def record(self, asked: Questions) -> dict[str, Any]:
        """Returns what run.json records of the settings, and of the questions that they name or that were ``asked``."""
        data = self.calibrated_on()
        record: dict[str, Any] = {"model": self.model, "calibration": data if isinstance(data, str) else data.record()}
        record |= {"samples": self.samples, "max_length": self.max_length}
        record |= {"min_pixels": self.min_pixels, "max_pixels": self.max_pixels, "groups": self.groups}
        record |= {"max_new_tokens": self.max_new_tokens, "language": self.language or None, **asked.origin}
        return record | ({"trust_remote_code": True} if self.trust_remote_code else {})


@dataclass(frozen=True)
class Grid:
    """Runs ablations and writes their results; finished cells are shared and not run again.

    Attributes:
        store: the finished cells.
        origin: what every cell was given and how the run was made, for run.json.
    """

    settings: GridSettings
    store: CellStore
    origin: dict[str, Any]

    @classmethod
    def prepared(
        cls, settings: GridSettings, asked: Questions | None = None, run: Mapping[str, Any] | None = None
    ) -> "Grid":
        """Loads the model and prepares the questions.

        Args:
            asked: questions to ask instead of those that the settings name.
            run: what else run.json records of the run.

        Raises:
            ValueError: for a model, data or options that do not fit.
        """
        at_least(0, seeds=settings.seeds)
        at_least(1, claimed_seeds=settings.claimed_seeds)
        asked = settings.asked() if asked is None else asked
        calibration = load_calibration(settings.calibrated_on())
        writable(settings.results, "results")
        pixel_bounds: dict[str, Any] = {"min_pixels": settings.min_pixels, "max_pixels": settings.max_pixels}
        lvlm, processor = load(settings.model, trust_remote_code=settings.trust_remote_code, **pixel_bounds)
        if settings.language:
            require_english(processor.tokenizer)
        if isinstance(asked, Benchmarks):
            bound_pixels(processor, lvlm.config.model_type, **pixel_bounds)
        prompt_sets = prompt_sets_of(asked, lvlm, processor, settings.max_new_tokens)
        bench = Bench(
            lvlm, processor, calibration, prompt_sets, settings.samples, settings.max_length, settings.language
        )
        origin = settings.record(asked) | dict(run or {})
        files_digest = folder_digest(model_folder(settings.model, settings.trust_remote_code))
        model_digest = content_digest([files_digest, answer_settings(lvlm, processor)])
        store = CellStore(settings.results / "cells", model_digest, bench, asked.source)
        return cls(settings, store, origin)

    @property
    def tasks(self) -> list[str]:
        """The task of each question."""
        return [question["task"] for question in self.store.bench.questions]

    def admit(self, ablation: Ablation) -> None:
        """Gives an ablation the run's calibration data and checks it before its first cell is run.

        Its cells must be distinguishable and possible to run, and its table possible to make.

        Raises:
            ValueError: naming the cell or the ablation, and the reason; UnsuitedModel for an ablation of different
                models.
        """
        ablation.calibration_data = self.store.bench.data
        require_fit(ablation, ablation.cells(self.settings.seed), self.store.bench.model)

    def run(self, ablation: Ablation, trainer: L.Trainer, shard: Shard | None = None) -> CellOutcomes:
        """Runs all cells of an ablation, or those of a shard; finished ones are read from disk."""
        return run_ablation(ablation, self.store, self._seeds_of(ablation), self.settings.seeds, trainer, shard)

    def write(self, outcome: AblationOutcome, columns: Sequence[str] | None = None) -> Written:
        """Writes the table and figure of a complete run; a decided finding has the interval that decided it."""
        ablation, decided = outcome.ablation, outcome.decided
        results, findings, origin = Results(outcome.cells.finished), None, self.origin_of(ablation)
        if decided:
            assert decided.results is not None and decided.look is not None
            results, findings = decided.results, list(decided.findings.values())
            origin |= {"seeds": list(self._seed_range(decided.look.seeds)), "decide": True}
        folder = writable(self.settings.results / ablation.name, "results")
        record = write_results(ablation, results, folder, origin, columns, findings)
        return Written(record, results, folder, origin)

    def decider(self, asked: Questions, trainer: L.Trainer, budget: float | None = None) -> Decider:
        """Returns a decider over growing parts of a suite's questions, with this grid's model and calibration data.

        Args:
            asked: all questions that may be asked, of which the grid was given ``first_look``.
            budget: seconds that all cells may take together; None for no limit.
        """
        assert isinstance(asked, Suite)
        planned_looks, bench = looks(asked.size), self.store.bench
        (answer_length,) = {prompt_set.max_new_tokens for prompt_set in bench.prompt_sets}

        def store(look_index: int) -> CellStore:
            new_questions = asked.group_range(
                planned_looks[look_index - 1].groups if look_index else 0, planned_looks[look_index].groups
            )
            asking_bench = bench.asking(prompt_sets_of(new_questions, bench.model, bench.processor, answer_length))
            return CellStore(self.store.folder, self.store.model, asking_bench, self.store.asked_from)

        return Decider(planned_looks, store, self.settings.seed, trainer, budget)

    def origin_of(self, ablation: Ablation) -> dict[str, Any]:
        """Returns how the ablation's cells came about, for the record."""
        seeds = {"seeds": list(self._seeds_of(ablation)), "whole_seeds": self.settings.seeds}
        return self.origin | ablation.levels.record() | seeds | {"file": _defining_file(ablation)}

    def _seeds_of(self, ablation: Ablation) -> range:
        return self._seed_range(max(self.settings.seeds, self.settings.claimed_seeds or ablation.seeds))

    def _seed_range(self, seeds: int) -> range:
        return range(self.settings.seed, self.settings.seed + seeds)


def _defining_file(ablation: Ablation) -> str:
    """Returns the file that defines the ablation; empty for a class in a notebook, which has none."""
    try:
        return from_here(inspect.getfile(type(ablation)))
    except (OSError, TypeError):
        return ""


def first_look(question_set: Questions) -> Suite:
    """Returns the part of the questions that the first of several looks takes.

    Raises:
        ValueError: for fewer than 50 groups per task.
    """
    assert isinstance(question_set, Suite)
    return question_set.group_range(0, looks(question_set.size)[0].groups)
