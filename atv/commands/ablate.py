"""``atv ablate``"""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from atv.ablation.base import Ablation
from atv.ablation.from_files import load_ablations
from atv.ablation.grid import AblationOutcome, GridSettings, Written
from atv.ablation.grid_run import GridRun, RunSettings
from atv.ablation.levels import Levels
from atv.ablation.shard import Shard
from atv.ablation.store import CellStore
from atv.ablation.tables import chosen_tasks
from atv.commands.before_parsing import WORDS
from atv.runtime.trainer import quiet_trainer
from atv.tracking.log import LoggerName, chosen_loggers, log_ablation
from atv.tracking.wandb_runs import command


class CellsFailed(RuntimeError):
    """Raised when some cells failed; the others are finished and kept."""


def ablate(
    file: list[Path] | Path,
    settings: GridSettings = GridSettings(),
    sparsities: list[float] | str | None = None,
    patterns: list[str] | str | None = None,
    processes: int = 1,
    shard: str | None = None,
    decide: bool = False,
    budget: float | None = None,
    columns: list[str] | None = None,
    logger: list[LoggerName] | LoggerName = "wandb",
    plugin: list[Path] | Path | None = None,
    trainer: dict[str, Any] | None = None,
) -> None:
    """Run one or more ablations, each a grid of cells; finished cells are not run again, so a killed run resumes.

    Writes table.md, table.csv, figure.png, findings.json and one W&B run per cell (offline unless you are logged in) to
    results/<ablation>/. Cells are stored in results/cells/, where all ablations share them.

    Args:
        file: Python file with one class derived from atv.ablation.Ablation, such as ablations/visual_sparsity.py;
            a list of such files; or a folder, which stands for all such files in it.
        sparsities: Sparsities (shares of the weights to prune) in place of those that suit the model, as a list or
            separated by commas. Default: 0.2 to 0.5 for everyday, otherwise 0.5 to 0.7; up to 0.9 for bundled when only
            one pathway is pruned.
        patterns: N:M patterns to prune by, as a list or separated by commas; "none" for no pattern. Default: 2:4,4:8;
            for everyday also 6:8.
        processes: Number of processes on this machine that share the cells, with one thread each; on small models, two
            get more done than one with two threads. The first shows its progress here and writes the tables; the others
            print to results/shard-2.log and so on.
        shard: Part of the cells to run, as i/n: every n-th cell, starting from the i-th. This way, n processes or
            machines that share the results folder run all cells, in any order. Whichever finds all cells finished
            writes the tables.
        decide: Whether to ask only as many questions as the verdicts need: first a fifth of the groups with 3 seeds,
            then half with 4, then all with 5, each time only in the cells that an undecided finding depends on. An
            early verdict must be more certain, so that stopping early does not make more verdicts wrong. Needs a suite
            (no benchmarks), and sets the number of seeds itself.
        budget: Maximum number of hours for all cells together, including finished ones; only with decide. Default: no
            limit.
        columns: Tasks to show in table.md; "average" counts as one. Default: all.
        logger: Where to log runs: wandb (offline unless you are logged in or WANDB_MODE says otherwise), csv,
            tensorboard, a list of these, or none.
    """
    plugins = [plugin] if isinstance(plugin, Path) else plugin or ()
    run_settings = RunSettings(settings, processes, Shard.parse(shard) if shard else None, decide, budget, plugins)
    ablations = load_ablations(file, Levels.suited(settings.model, sparsities, patterns))
    loggers = chosen_loggers(logger)
    runner = quiet_trainer(**({"enable_progress_bar": False} | (trainer or {})))
    console = Console(quiet=not runner.is_global_zero)
    with console.status("reading questions"):
        grid_run = GridRun.prepared(run_settings, runner)
    grid = grid_run.grid
    chosen_tasks(grid.tasks, columns)
    outcomes = grid_run.run(ablations, WORDS.get(()), lambda ablation: _print_question(ablation, console))
    _print_cells_of_other_runs(grid.store, decide, console)
    failed: dict[str, str] = {}
    for outcome in outcomes:
        ablation, cells = outcome.ablation, outcome.cells
        _print_remaining_work(outcome, console)
        failed |= {f"{ablation.name}: {cell}": error for cell, error in cells.failed.items()}
        if cells.whole and cells.finished and runner.is_global_zero:
            _publish(grid.write(outcome, columns), loggers, console)
    if failed:
        raise CellsFailed("\n".join(f"{cell}\n{error}" for cell, error in failed.items()))


def _print_question(ablation: Ablation, console: Console) -> None:
    """Prints an ablation's question, above its cells."""
    console.print(f"[bold]{ablation.question}[/bold]\n{inspect.getdoc(ablation)}")


def _print_remaining_work(outcome: AblationOutcome, console: Console) -> None:
    """Prints what is left to run of an ablation's cells, or to decide of its findings."""
    ablation, cells, decided = outcome
    if not cells.whole:
        remaining = f"{len(cells.missing)} left to other shards, {len(cells.failed)} failed"
        console.print(
            f"{ablation.name}: {len(cells.finished)} cells finished, {remaining}; run it again for the tables"
        )
    elif decided and decided.look is None:
        console.print(f"{ablation.name}: no look was taken, so no table was written: {decided.stopped}", soft_wrap=True)
    elif decided and decided.undecided:
        reason = decided.stopped or "all questions and seeds are asked"
        console.print(f"{ablation.name}: {len(decided.undecided)} findings are undecided: {reason}", soft_wrap=True)


def _print_cells_of_other_runs(store: CellStore, in_parts: bool, console: Console) -> None:
    """Lists the cells in the folder that belong to a different model, other questions or another schema."""
    for reason, ids in store.cells_of_other_runs(in_parts).items():
        shown_ids = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
        console.print(
            f"left alone: {len(ids)} cell{'s' if len(ids) > 1 else ''} ({reason}): {shown_ids}", soft_wrap=True
        )


def _publish(written: Written, loggers: Sequence[str], console: Console) -> None:
    """Logs the results that were written for a complete grid."""
    folder = written.folder
    console.print(f"table and figure are in {folder}")
    with console.status(f"logging to {', '.join(loggers)}"):
        new_runs = log_ablation(written, loggers)
    for name, runs in new_runs.items():
        console.print(f"{name}: {runs} new run{'' if runs == 1 else 's'} in {folder / name}")
    if "wandb" in loggers and (viewer_command := command(folder)):
        console.print(f"to see the runs in this terminal, without an account: {viewer_command}", soft_wrap=True)
