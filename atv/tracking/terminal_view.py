"""A folder in which ``wandb leet`` shows an ablation's offline runs under the names of their cells."""

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

FOLDER = "leet"


def write_view(folder: Path, named: Iterable[tuple[str, str]]) -> Path | None:
    """Links the offline runs of ``folder / "wandb"``; None where none lies there, as for who logs online.

    ``wandb leet`` lists folders whose names are a date, a time and an id, the latest first, and shows these names and
    no other. So the id is the cell's name, and the time says the order.

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
            place = view / f"run-00000000_{len(there) - number:06d}-{own}"
            place.mkdir(parents=True)
            _link(run / f"run-{run_id}.wandb", place / f"run-{own}.wandb")
            _link(run / "files", place / "files")
    return view if view.is_dir() else None


def _link(target: Path, link: Path) -> None:
    """Relative, so that the results may be moved."""
    link.symlink_to(os.path.relpath(target, link.parent))
