"""Runs the missing cells of an ablation's grid."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from atv.ablation.base import Ablation
from atv.ablation.cell import Cell
from atv.ablation.checking import require_told_apart
from atv.ablation.measuring import prune_and_ask
from atv.ablation.results import Results
from atv.ablation.shard import Shard
from atv.ablation.store import CellStore, FinishedCell
from atv.runtime.preemption import Preempted


@dataclass
class CellOutcomes:
    """What became of an ablation's cells.

    Attributes:
        finished: finished cells.
        failed: names of cells that failed, with their errors.
        missing: cells that are left to other shards.
        made: how many cells were run, not read from disk.
    """

    finished: list[FinishedCell] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    missing: list[Cell] = field(default_factory=list)
    made: int = 0

    @property
    def whole(self) -> bool:
        return not (self.failed or self.missing)


def run_ablation(
    ablation: Ablation,
    store: CellStore,
    seeds: Sequence[int],
    whole_seeds: int,
    trainer: L.Trainer,
    shard: Shard | None = None,
    claimed: Callable[[Cell], bool] | None = None,
) -> CellOutcomes:
    """Runs all cells of the grid for every seed, reads finished ones from disk, and prints one line per cell.

    A cell counts as finished once its folder has its final name, so a killed run resumes where it stopped. A cell that
    raises is reported, and the others are still run. A shard that had cells to run leaves the cells that follow from
    them to the next call, because the slowest of several shards would otherwise run all of those alone.

    Args:
        whole_seeds: number of seeds of all cells; further seeds are only for the dense model and claimed cells.
        claimed: tells which cells findings rest on; None for the ablation's own ``claimed``.

    Raises:
        ValueError: for cells that cannot be told apart, before any of them is run.
    """
    is_claimed = ablation.claimed if claimed is None else claimed

    def wanted_cells(cells_of_seed: Callable[[int], Sequence[Cell]]) -> list[Cell]:
        cells_of_all_seeds = [cell for seed in seeds[:whole_seeds] for cell in cells_of_seed(seed)]
        return cells_of_all_seeds + [
            cell for seed in seeds[whole_seeds:] for cell in cells_of_seed(seed) if cell.dense or is_claimed(cell)
        ]

    outcomes, grid = CellOutcomes(), wanted_cells(ablation.cells)
    require_told_apart(grid)
    console = Console(quiet=not trainer.is_global_zero)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        _run_stage(ablation, _without_repetitions(store, grid), store, trainer, shard, progress, outcomes)
        while outcomes.whole and (later_cells := _later_cells(ablation, wanted_cells, store, outcomes)):
            if shard and outcomes.made:
                outcomes.missing += later_cells
                break
            _run_stage(ablation, later_cells, store, trainer, shard, progress, outcomes)
    return outcomes


def _later_cells(
    ablation: Ablation,
    wanted_cells: Callable[[Callable[[int], Sequence[Cell]]], list[Cell]],
    store: CellStore,
    outcomes: CellOutcomes,
) -> list[Cell]:
    """Returns the cells that follow from the finished ones."""
    finished_keys = {(finished_cell.folder.name, finished_cell.cell.title) for finished_cell in outcomes.finished}
    later_cells = wanted_cells(partial(ablation.later, results=Results(outcomes.finished)))
    require_told_apart([*(finished_cell.cell for finished_cell in outcomes.finished), *later_cells])
    return [
        cell
        for cell in _without_repetitions(store, later_cells)
        if (store.id_of(cell), cell.title) not in finished_keys
    ]


def _without_repetitions(store: CellStore, cells: Sequence[Cell]) -> list[Cell]:
    """Removes repetitions, such as the dense model for every seed."""
    cells_by_key: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        cells_by_key.setdefault((store.id_of(cell), cell.title), cell)
    return list(cells_by_key.values())


def _run_stage(
    ablation: Ablation,
    cells: Sequence[Cell],
    store: CellStore,
    trainer: L.Trainer,
    shard: Shard | None,
    progress: Progress,
    outcomes: CellOutcomes,
) -> None:
    own_ids = {id(cell) for cell in (cells if shard is None else shard.cells(cells))}
    if not cells:
        return
    progress_task = progress.add_task(ablation.name, total=len(own_ids), visible=bool(own_ids))
    for cell in cells:
        finished_cell, note = store.load(cell, ablation.name), "from disk"
        if finished_cell is None and id(cell) in own_ids:
            progress.update(progress_task, description=f"{ablation.name}: {_name(cell)}")
            finished_cell, note = _attempt(ablation, cell, store, trainer, outcomes)
            outcomes.made += 1
        if finished_cell is not None:
            outcomes.finished.append(finished_cell)
        elif _name(cell) not in outcomes.failed:
            outcomes.missing.append(cell)
        if id(cell) in own_ids:
            progress.console.print(_line(cell, finished_cell, note), highlight=False, soft_wrap=True)
            progress.advance(progress_task)


def _attempt(
    ablation: Ablation, cell: Cell, store: CellStore, trainer: L.Trainer, outcomes: CellOutcomes
) -> tuple[FinishedCell | None, str]:
    """Runs a cell and returns it finished, or None and the error."""
    try:
        measure = ablation.measure if cell.measure else prune_and_ask
        started = perf_counter()
        measured = measure(cell, store.bench, trainer)
        if not measured.seconds:
            measured = replace(measured, seconds={"measure": perf_counter() - started})
        if trainer.is_global_zero:
            store.save(cell, measured, ablation.name)
        trainer.strategy.barrier()
        return store.load(cell, ablation.name), ""
    except Preempted as stop:
        cell_name = f"{ablation.name}: {_name(cell)}"
        raise Preempted(
            f"stopped by SIGTERM in {cell_name}; finished cells are kept, and the same command resumes from there"
        ) from stop
    except OSError:  # a full disk would fail every cell
        raise
    except Exception as error:
        if trainer.world_size > 1:  # the other ranks wait: only the launcher can end them all
            raise
        outcomes.failed[_name(cell)] = "".join(traceback.format_exception(error))
        return None, f"FAILED: {type(error).__name__}: {error}"


def _name(cell: Cell) -> str:
    return f"{cell.title}, seed {cell.seed}"


def _line(cell: Cell, finished_cell: FinishedCell | None, note: str) -> str:
    """Formats a cell's line in fixed columns, so that a log file reads as a table."""
    start = f"{_name(cell):52s}"
    if finished_cell is None:
        return f"{start}  {note}"
    score_text = (
        f"{100 * finished_cell.rows['credit'].mean():6.2f}% of {len(finished_cell.rows):,} questions"
        if finished_cell.was_asked
        else ""
    )
    return f"{start}  {score_text:28s} {finished_cell.seconds:7.1f} s  {note}".rstrip()
