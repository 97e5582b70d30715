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

    A cell counts as finished once its folder has its name, so a killed run resumes where it stopped. A cell that raises
    is reported, and the others are still run. A shard that had cells to run leaves the cells that follow from them to
    the next call, because the slowest of several shards would otherwise run all of those alone.

    Args:
        whole_seeds: number of seeds of all cells; further seeds are only for the dense model and claimed cells.
        claimed: tells which cells findings rest on; None for the ablation's own ``claimed``.

    Raises:
        ValueError: for cells that cannot be told apart, before any of them is run.
    """
    chosen = ablation.claimed if claimed is None else claimed

    def wanted(made: Callable[[int], Sequence[Cell]]) -> list[Cell]:
        first = [cell for seed in seeds[:whole_seeds] for cell in made(seed)]
        return first + [cell for seed in seeds[whole_seeds:] for cell in made(seed) if cell.dense or chosen(cell)]

    outcomes, grid = CellOutcomes(), wanted(ablation.cells)
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
        _run_stage(ablation, _once(store, grid), store, trainer, shard, progress, outcomes)
        while outcomes.whole and (after := _further(ablation, wanted, store, outcomes)):
            if shard and outcomes.made:
                outcomes.missing += after
                break
            _run_stage(ablation, after, store, trainer, shard, progress, outcomes)
    return outcomes


def _further(
    ablation: Ablation,
    wanted: Callable[[Callable[[int], Sequence[Cell]]], list[Cell]],
    store: CellStore,
    outcomes: CellOutcomes,
) -> list[Cell]:
    """Returns the cells that follow from the finished ones."""
    known = {(done.folder.name, done.cell.title) for done in outcomes.finished}
    after = wanted(partial(ablation.later, results=Results(outcomes.finished)))
    require_told_apart([*(done.cell for done in outcomes.finished), *after])
    return [cell for cell in _once(store, after) if (store.id_of(cell), cell.title) not in known]


def _once(store: CellStore, cells: Sequence[Cell]) -> list[Cell]:
    """Removes repetitions, such as the dense model for every seed."""
    first: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        first.setdefault((store.id_of(cell), cell.title), cell)
    return list(first.values())


def _run_stage(
    ablation: Ablation,
    cells: Sequence[Cell],
    store: CellStore,
    trainer: L.Trainer,
    shard: Shard | None,
    progress: Progress,
    outcomes: CellOutcomes,
) -> None:
    own = {id(cell) for cell in (cells if shard is None else shard.cells(cells))}
    if not cells:
        return
    task = progress.add_task(ablation.name, total=len(own), visible=bool(own))
    for cell in cells:
        done, note = store.load(cell, ablation.name), "from disk"
        if done is None and id(cell) in own:
            progress.update(task, description=f"{ablation.name}: {_name(cell)}")
            done, note = _attempt(ablation, cell, store, trainer, outcomes)
            outcomes.made += 1
        if done is not None:
            outcomes.finished.append(done)
        elif _name(cell) not in outcomes.failed:
            outcomes.missing.append(cell)
        if id(cell) in own:
            progress.console.print(_line(cell, done, note), highlight=False, soft_wrap=True)
            progress.advance(task)


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
    except Preempted as stopped:
        what = f"{ablation.name}: {_name(cell)}"
        raise Preempted(
            f"stopped by SIGTERM in {what}; finished cells are kept, and the same command resumes from there"
        ) from stopped
    except OSError:  # a full disk would fail every cell
        raise
    except Exception as error:
        if trainer.world_size > 1:  # the other ranks wait: only the launcher can end them all
            raise
        outcomes.failed[_name(cell)] = "".join(traceback.format_exception(error))
        return None, f"FAILED: {type(error).__name__}: {error}"


def _name(cell: Cell) -> str:
    return f"{cell.title}, seed {cell.seed}"


def _line(cell: Cell, done: FinishedCell | None, note: str) -> str:
    """Fixed columns, so that a log file reads as a table."""
    head = f"{_name(cell):52s}"
    if done is None:
        return f"{head}  {note}"
    scored = f"{100 * done.rows['credit'].mean():6.2f}% of {len(done.rows):,} questions" if done.was_asked else ""
    return f"{head}  {scored:28s} {done.seconds:7.1f} s  {note}".rstrip()
