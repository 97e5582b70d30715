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
    finished_before = -1
    while True:
        outcomes = run(NONE)
        finished, missing = (
            sum(len(getattr(ablation_cells, state)) for ablation_cells in outcomes) for state in ("finished", "missing")
        )
        if not missing or finished == finished_before:
            return
        finished_before, process_count = finished, min(processes, missing)
        with _start_others(process_count, words, logs) as other_processes:
            run(Shard(1, process_count))
            with Console().status(f"waiting for the other processes, which report their cells in {logs}/shard-*.log"):
                for process in other_processes:
                    process.wait()


@contextmanager
def _start_others(processes: int, words: Sequence[str], logs: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Starts the other processes, one thread each, and stops them if this one ends early."""
    started: list[subprocess.Popen[bytes]] = []
    logs.mkdir(parents=True, exist_ok=True)
    try:
        for shard_number in range(2, processes + 1):
            own_options = [f"--shard={shard_number}/{processes}", "--processes=1", "--logger=none"]
            with open(logs / f"shard-{shard_number}.log", "wb") as log:
                command = [sys.executable, "-m", "atv.cli", *words, *own_options]
                environment = os.environ | {"OMP_NUM_THREADS": "1"}
                started.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment))
        yield started
    finally:
        for process in started:
            if process.poll() is None:
                process.terminate()
        for process in started:
            process.wait()
