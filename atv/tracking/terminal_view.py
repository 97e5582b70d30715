"""A folder in which ``wandb leet`` shows an ablation's offline runs under the names of their cells."""

import os
import re
import shutil
from collections.abc import Iterable
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

FOLDER = "leet"
DAY = datetime(2000, 1, 1)


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
