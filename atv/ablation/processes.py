"""Additional processes on this machine that run their share of a run's cells."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from atv.ablation.runner import CellOutcomes
from atv.ablation.shard import NONE, Shard


def share_out(processes: int, words: Sequence[str], logs: Path, run: Callable[[Shard], list[CellOutcomes]]) -> None:
    """Has all processes run their shards of the missing cells, stage by stage, until a stage finishes no more cells.

    Cells that failed are left to the caller.

    Args:
        processes: maximum number of processes, including this one; a stage starts no more than it has cells.
        words: the command line after ``atv``, which the others run with their own shard and no logger.
        logs: folder for what the others print, ``shard-2.log`` and so on.
        run: runs a shard of each ablation in this process.
    """
    before = -1
    while True:
        looked_at = run(NONE)
        finished, missing = (sum(len(getattr(each, what)) for each in looked_at) for what in ("finished", "missing"))
        if not missing or finished == before:
            return
        before, sharing = finished, min(processes, missing)
        with _others(sharing, words, logs) as others:
            run(Shard(1, sharing))
            with Console().status(f"waiting for the other processes, which report their cells in {logs}/shard-*.log"):
                for other in others:
                    other.wait()


@contextmanager
def _others(processes: int, words: Sequence[str], logs: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Starts the other processes, one thread each, and stops them if this one ends early."""
    started: list[subprocess.Popen[bytes]] = []
    logs.mkdir(parents=True, exist_ok=True)
    try:
        for number in range(2, processes + 1):
            own = [f"--shard={number}/{processes}", "--processes=1", "--logger=none"]
            with open(logs / f"shard-{number}.log", "wb") as log:
                command = [sys.executable, "-m", "atv.cli", *words, *own]
                one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
                started.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=one_thread))
        yield started
    finally:
        for other in started:
            if other.poll() is None:
                other.terminate()
        for other in started:
            other.wait()
