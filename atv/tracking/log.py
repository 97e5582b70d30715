"""Logging of an ablation with the chosen loggers: W&B, or files that need no service."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Literal

from atv.ablation.grid import Written
from atv.ablation.store import FinishedCell
from atv.runtime.wandb_settings import check_environment, wandb_mode
from atv.tracking.base import Tracker
from atv.tracking.cells import CellEntries
from atv.tracking.csv_and_tensorboard import CSVTracker, TensorBoardTracker
from atv.tracking.summary import summary_entry
from atv.tracking.wandb_runs import WandbTracker, write_view

LoggerName = Literal["wandb", "csv", "tensorboard", "none"]
_TRACKERS: dict[str, type[Tracker]] = {"wandb": WandbTracker, "csv": CSVTracker, "tensorboard": TensorBoardTracker}


def chosen_loggers(names: Sequence[LoggerName] | LoggerName) -> list[str]:
    """Returns the loggers to use, without duplicates, and without W&B if WANDB_MODE is "disabled".

    Raises:
        ValueError: if "none" is combined with others, a logger is not installed, or W&B cannot read its environment
            variables.
    """
    loggers = list(dict.fromkeys([names] if isinstance(names, str) else names))
    if "none" in loggers:
        if len(loggers) > 1:
            raise ValueError(f"logger: 'none' cannot be combined with others, got {', '.join(loggers)}")
        return []
    for name in loggers:
        if find_spec(package := _TRACKERS[name].package) is None:
            raise ValueError(f"logger: {package} is not installed; pip install {package}")
    if "wandb" in loggers:
        check_environment()
    return [name for name in loggers if not (name == "wandb" and wandb_mode() == "disabled")]


def log_ablation(written: Written, loggers: Sequence[str]) -> dict[str, int]:
    """Logs one run per cell and one for the ablation with each logger, and skips runs that are already up to date.

    Returns:
        The number of new runs, by logger.
    """
    new_runs: dict[str, int] = {}
    entries = CellEntries(written.record.run["name"], written.results, written.origin)
    cells, summary = entries.by_run_id(), summary_entry(written)
    for name in loggers:
        tracker, new_runs[name] = _TRACKERS[name](written.folder), 0
        for run_id, finished_cell in cells.items():
            if not tracker.has(run_id, entries.version(finished_cell)):
                tracker.log(entries.entry(run_id, finished_cell))
                new_runs[name] += 1
        if not tracker.has(summary.id, summary.version):
            tracker.log(summary)
            new_runs[name] += 1
    if WandbTracker.name in loggers:
        runs = [
            (summary.id, "summary"),
            *((run_id, _short_name(finished_cell)) for run_id, finished_cell in cells.items()),
        ]
        write_view(written.folder, runs)
    return new_runs


def _short_name(finished_cell: FinishedCell) -> str:
    """Returns the shortest distinctive name of a cell, because lists show only the first letters."""
    return ", ".join([*map(str, finished_cell.cell.labels.values()), f"seed {finished_cell.cell.seed}"])
