"""Runs in W&B; offline unless the user is logged in."""

import os
import re
import shutil
from collections.abc import Iterable
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import wandb
from lightning.pytorch.loggers import WandbLogger

from atv.runtime.wandb_settings import QUIET, wandb_mode
from atv.tracking import keys
from atv.tracking.base import Entry, Tracker

FOLDER = "leet"
DAY = datetime(2000, 1, 1)


class WandbTracker(Tracker):
    """``wandb/``: one W&B run an entry, the ablation its group, with tables, pictures, and masks as an artifact."""

    name = "wandb"
    package = "wandb"

    def write(self, entry: Entry) -> None:
        """Writes a run, whole.

        Raises:
            ValueError: when W&B cannot be reached or refuses.
        """
        for earlier in self.folder.glob(f"offline-run-*-{entry.id}"):
            shutil.rmtree(earlier)
        try:
            with self._start(entry) as run:
                _fill(run, entry)
        except wandb.errors.Error as error:
            raise ValueError(f"logger: W&B: {error} (WANDB_MODE=offline writes the runs to disk)") from error

    def _start(self, entry: Entry) -> wandb.Run:
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", "atv"),
            id=entry.id,
            name=entry.name,
            group=entry.group,
            job_type=entry.kind,
            tags=[entry.kind, *_tags(entry)],
            dir=str(self.folder.parent),
            mode=wandb_mode(),  # type: ignore[arg-type]  # WANDB_MODE may say anything, which wandb checks.
            settings=wandb.Settings(**QUIET),
        )


def _tags(entry: Entry) -> list[str]:
    """Words by which runs are found without a query."""
    named = {name: entry.config.get(name) for name in (keys.PATHWAY, keys.SOURCE)}
    return [f"{name.split('_')[0]}: {value}"[:64] for name, value in named.items() if value]


def _fill(run: wandb.Run, entry: Entry) -> None:
    logger = WandbLogger(experiment=run)
    logger.log_hyperparams(entry.config)
    run.define_metric(keys.BLOCK, hidden=True, summary="none")
    for curve in keys.CURVES:
        run.define_metric(curve, step_metric=keys.BLOCK, summary="none")
    for family in (keys.AVERAGE, "retention"):
        run.define_metric(f"{family}*", step_metric=keys.SPARSITY)
    for row in entry.curves:
        run.log(row)
    if entry.points:
        run.log(entry.points)
    _draw_lines(run, entry.lines)
    for name, table in entry.tables.items():
        logger.log_table(name, dataframe=of_one_type(table))
    for name, image in entry.images.items():
        logger.log_image(name, [str(image)])
    run.summary.update(entry.points | entry.summary)
    _attach(run, entry)


def of_one_type(table: pd.DataFrame) -> pd.DataFrame:
    """The table with text for values of several types in one column, such as the labels "dense" and 0.5, which W&B
    refuses."""
    mixed = [name for name, values in table.items() if values.dropna().map(type).nunique() > 1]
    return table.assign(**{str(name): table[name].map(str, na_action="ignore") for name in mixed})


def _draw_lines(run: wandb.Run, lines: dict[str, dict[float, float]]) -> None:
    """A chart a method, and one of all of them, which the web shows."""
    for sparsity in sorted({sparsity for line in lines.values() for sparsity in line}):
        there = {keys.line(name): line[sparsity] for name, line in lines.items() if sparsity in line}
        run.log({keys.SPARSITY: sparsity} | there)
    if lines:
        xs, ys = [list(line) for line in lines.values()], [list(line.values()) for line in lines.values()]
        title = "Average retention (%) by sparsity, one line a method"
        run.log({"retention_by_sparsity": wandb.plot.line_series(xs, ys, [*lines], title, keys.SPARSITY)})


def _attach(run: wandb.Run, entry: Entry) -> None:
    """Cells never change once they are whole, so W&B reads their files where they are, without a copy."""
    if not entry.files:
        return
    artifact = wandb.Artifact(f"cell-{entry.config['cell']}", "masks", metadata={"seed": entry.config["seed"]})
    for file in entry.files:
        artifact.add_file(str(file), policy="immutable")
    run.log_artifact(artifact)


def write_view(folder: Path, named: Iterable[tuple[str, str]]) -> None:
    """Links the offline runs of ``folder / "wandb"``; there are none of who logs online.

    ``wandb leet`` lists folders whose names are a date, a time and an id, the latest first, and shows these names and
    no other. So the id is the cell's name, and the time, counted from a fixed day, says the order alone.

    Args:
        folder: the ablation's.
        named: id and name of each run, what matters first.
    """
    view = folder / FOLDER
    shutil.rmtree(view, ignore_errors=True)
    there = list(named)
    for number, (run_id, name) in enumerate(there):
        for run in (folder / "wandb").glob(f"offline-run-*-{run_id}"):
            own = re.sub(r"[^\w ,.+%=:()-]", "-", name)[:80]
            place = view / f"run-{DAY + timedelta(seconds=len(there) - number):%Y%m%d_%H%M%S}-{own}"
            place.mkdir(parents=True)
            _link(run / f"run-{run_id}.wandb", place / f"run-{own}.wandb")
            _link(run / "files", place / "files")


def command(folder: Path) -> str | None:
    """The line that shows the view of an ablation's folder; None where there is none, or wandb is too old for it."""
    view = folder / FOLDER
    # LEET without WANDB_MODE=offline tells W&B that it is used.
    return f"WANDB_MODE=offline wandb leet {view}" if view.is_dir() and find_spec("wandb.cli.leet") else None


def _link(target: Path, link: Path) -> None:
    """Relative, so that the results may be moved."""
    link.symlink_to(os.path.relpath(target, link.parent))
