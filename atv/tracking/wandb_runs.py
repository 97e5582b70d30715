"""The W&B tracker; runs are offline unless the user is logged in."""

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
    """Writes ``wandb/``: one W&B run per entry, grouped by ablation, with tables, pictures and an artifact of masks."""

    name = "wandb"
    package = "wandb"

    def write(self, entry: Entry) -> None:
        """Writes an entry as a complete run.

        Raises:
            ValueError: if W&B cannot be reached or rejects the run.
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
            mode=wandb_mode(),  # type: ignore[arg-type]  # WANDB_MODE may have any value; wandb checks it.
            settings=wandb.Settings(**QUIET),
        )


def _tags(entry: Entry) -> list[str]:
    """Returns tags with which runs can be found without a query."""
    columns = {name: entry.config.get(name) for name in (keys.PATHWAY, keys.SOURCE)}
    return [f"{name.split('_')[0]}: {value}"[:64] for name, value in columns.items() if value]


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
    """Converts columns with values of several types, such as "dense" and 0.5, to text; W&B would reject them."""
    mixed = [name for name, values in table.items() if values.dropna().map(type).nunique() > 1]
    return table.assign(**{str(name): table[name].map(str, na_action="ignore") for name in mixed})


def _draw_lines(run: wandb.Run, lines: dict[str, dict[float, float]]) -> None:
    """Logs one chart per method, and one of all methods, which the web shows."""
    for sparsity in sorted({sparsity for line in lines.values() for sparsity in line}):
        retentions = {keys.line(name): line[sparsity] for name, line in lines.items() if sparsity in line}
        run.log({keys.SPARSITY: sparsity} | retentions)
    if lines:
        xs, ys = [list(line) for line in lines.values()], [list(line.values()) for line in lines.values()]
        title = "Average retention (%) by sparsity, one line per method"
        run.log({"retention_by_sparsity": wandb.plot.line_series(xs, ys, [*lines], title, keys.SPARSITY)})


def _attach(run: wandb.Run, entry: Entry) -> None:
    """Attaches the entry's files without copying them: a complete cell never changes, so W&B can read them in place."""
    if not entry.files:
        return
    artifact = wandb.Artifact(f"cell-{entry.config['cell']}", "masks", metadata={"seed": entry.config["seed"]})
    for file in entry.files:
        artifact.add_file(str(file), policy="immutable")
    run.log_artifact(artifact)


def write_view(folder: Path, named_runs: Iterable[tuple[str, str]]) -> None:
    """Links the offline runs of ``folder / "wandb"`` under readable names; online logging leaves no such runs.

    ``wandb leet`` lists folders whose names consist of a date, a time and an id, latest first, and shows only these
    names. Therefore, the id is the cell's name, and the time, counted from a fixed day, only determines the order.

    Args:
        folder: the ablation's folder.
        named_runs: id and name of each run, most important first.
    """
    view = folder / FOLDER
    shutil.rmtree(view, ignore_errors=True)
    runs = list(named_runs)
    for position, (run_id, name) in enumerate(runs):
        for run in (folder / "wandb").glob(f"offline-run-*-{run_id}"):
            readable_name = re.sub(r"[^\w ,.+%=:()-]", "-", name)[:80]
            run_folder = view / f"run-{DAY + timedelta(seconds=len(runs) - position):%Y%m%d_%H%M%S}-{readable_name}"
            run_folder.mkdir(parents=True)
            _link(run / f"run-{run_id}.wandb", run_folder / f"run-{readable_name}.wandb")
            _link(run / "files", run_folder / "files")


def command(folder: Path) -> str | None:
    """Returns the shell command that shows an ablation's view; None if there is no view, or wandb is too old for it."""
    view = folder / FOLDER
    # Without WANDB_MODE=offline, LEET reports its use to W&B.
    return f"WANDB_MODE=offline wandb leet {view}" if view.is_dir() and find_spec("wandb.cli.leet") else None


def _link(target: Path, link: Path) -> None:
    """Creates a relative link, so that the results can be moved."""
    link.symlink_to(os.path.relpath(target, link.parent))
