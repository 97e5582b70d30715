"""Runs ablations in turn on one grid: with several processes, in part, or only as far as verdicts need."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from atv.ablation.base import Ablation
from atv.ablation.deciding import Decider
from atv.ablation.grid import AblationOutcome, Grid, GridSettings, first_look
from atv.ablation.levels import UnsuitedModel
from atv.ablation.processes import share_out
from atv.ablation.runner import CellOutcomes
from atv.ablation.shard import Shard
from atv.records.files import from_here
from atv.runtime.trainer import precision, require_all_batches


@dataclass(frozen=True)
class RunSettings:
    """How a grid's cells are run, and how many of them.

    Attributes:
        grid: what every cell is given and asked.
        processes: number of processes on this machine that share the cells, one thread each.
        shard: the part of the cells to run; None for all.
        decide: whether to ask no more than verdicts need.
        budget: with ``decide``, hours that all cells may take together; None for no limit.
        plugins: files that were imported for the classes that cells name.

    Raises:
        ValueError: for settings that contradict each other.
    """

    grid: GridSettings
    processes: int = 1
    shard: Shard | None = None
    decide: bool = False
    budget: float | None = None
    plugins: Sequence[Path] = ()

    def __post_init__(self) -> None:
        decide, budget, processes, grid = self.decide, self.budget, self.processes, self.grid
        if budget is not None and (not decide or budget <= 0):
            raise ValueError(f"budget: expected hours above 0, together with decide; got {budget} and decide {decide}")
        if decide and grid.benchmark is not None:
            raise ValueError(
                "decide: expected a suite of tasks, whose questions can be asked part by part, got benchmarks"
            )
        if decide and (grid.seeds, grid.claimed_seeds) != (1, None):
            raise ValueError("decide: uses 3, 4 and 5 seeds by itself; leave out seeds and claimed_seeds")
        if processes < 1 or (processes > 1 and self.shard):
            raise ValueError(f"processes: expected 1 or more, and no shard if there are several; got {processes}")

    def record(self) -> dict[str, Any]:
        """Returns what run.json records of these, apart from the grid's settings."""
        recorded: dict[str, Any] = {"plugin": [from_here(file) for file in self.plugins]} if self.plugins else {}
        return recorded | ({} if self.budget is None else {"budget": self.budget})


@dataclass(frozen=True)
class GridRun:
    """Runs ablations in turn on a prepared grid.

    Attributes:
        decider: decides findings; None if all cells are asked everything.
    """

    settings: RunSettings
    grid: Grid
    trainer: L.Trainer
    decider: Decider | None

    @classmethod
    def prepared(cls, settings: RunSettings, trainer: L.Trainer) -> "GridRun":
        """Reads the questions and loads the model; if there are several processes, this one uses one thread.

        Raises:
            ValueError: for a trainer that casts the model, leaves out batches, or has several devices when there are
                several processes; for fewer than 50 groups per task to decide by; and as ``Grid.prepared`` does.
        """
        _require_fitting_trainer(trainer, settings.processes)
        if settings.processes > 1:
            torch.set_num_threads(1)
        all_questions = settings.grid.asked()
        grid = Grid.prepared(
            settings.grid, first_look(all_questions) if settings.decide else all_questions, settings.record()
        )
        seconds = settings.budget and 3600 * settings.budget
        return cls(settings, grid, trainer, grid.decider(all_questions, trainer, seconds) if settings.decide else None)

    def run(
        self,
        ablations: Sequence[Ablation],
        words: Sequence[str] = (),
        before: Callable[[Ablation], None] | None = None,
    ) -> Iterator[AblationOutcome]:
        """Checks all ablations at once; returns an iterator that runs each one when its outcome is requested.

        Args:
            words: the command line after ``atv`` that does the same in another process, if there are several.
            before: called with each ablation before its cells are run; several processes share the cells before that.

        Raises:
            ValueError: for an ablation that does not fit the model, or several processes without ``words``.
        """
        if self.settings.processes > 1 and not words:
            raise ValueError(
                f"processes: expected 1 without a command line for the others, got {self.settings.processes}"
            )
        ablations = self._suited(ablations)
        return self._run_shared(ablations, words, before)

    def _suited(self, ablations: Sequence[Ablation]) -> list[Ablation]:
        """Returns those that suit the model; if there are several, the others are left out with a warning."""
        suited, refusal = [], None
        for ablation in ablations:
            try:
                self.grid.admit(ablation)
                suited.append(ablation)
            except UnsuitedModel as error:
                refusal = error
                if len(ablations) > 1:
                    rank_zero_warn(f"{ablation.name} is left out: {error}")
        if refusal and not suited:
            raise refusal
        return suited

    def _run_shared(
        self, ablations: Sequence[Ablation], words: Sequence[str], before_each: Callable[[Ablation], None] | None
    ) -> Iterator[AblationOutcome]:
        def run_shard(shard: Shard) -> list[CellOutcomes]:
            return [outcome.cells for outcome in self._run_in_turn(ablations, shard)]

        if self.settings.processes > 1:
            share_out(self.settings.processes, words, self.settings.grid.results, run_shard)
        yield from self._run_in_turn(ablations, self.settings.shard, before_each)

    def _run_in_turn(
        self, ablations: Sequence[Ablation], shard: Shard | None, before_each: Callable[[Ablation], None] | None = None
    ) -> Iterator[AblationOutcome]:
        """Goes once through all ablations, with its own budget."""
        if self.decider:
            self.decider.begin()
        for ablation in ablations:
            if before_each:
                before_each(ablation)
            decided = self.decider.decide(ablation, shard) if self.decider else None
            cells = decided.cells if decided else self.grid.run(ablation, self.trainer, shard)
            yield AblationOutcome(ablation, cells, decided)


def _require_fitting_trainer(trainer: L.Trainer, processes: int) -> None:
    """Checks that processes do not share devices, and that cells use the model's own precision and all samples."""
    if processes > 1 and trainer.world_size > 1:
        raise ValueError(f"processes: expected 1 if the trainer has several devices, got {processes}")
    if other_precision := precision(trainer):
        raise ValueError(f"trainer.precision: expected 32-true, the model's own, got {other_precision['precision']}")
    require_all_batches(trainer)
