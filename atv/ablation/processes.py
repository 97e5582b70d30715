"""Further processes of this machine that take their share of a run's cells."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from rich.console import Console

from atv.ablation.runner import Run
from atv.ablation.shard import NONE, Shard


@dataclass
class Processes:
    """Processes that run a command's cells with this one, one thread each; without others, none are started.

    Attributes:
        count: how many there are, this one included.
        words: the command line after ``atv``, which the others run with a shard of their own and no logger.
        logs: folder for what the others print, ``shard-2.log`` and so on.
    """

    count: int
    words: Sequence[str]
    logs: Path
    _others: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @contextmanager
    def started(self) -> Iterator[Self]:
        """Starts the others, which get ready while this one does; ends them where this one ends first."""
        try:
            self._start()
            yield self
        finally:
            self._stop()

    def share(self, run: Callable[[Shard], list[Run]]) -> None:
        """Has all run their shards of what is missing, stage after stage, until no more comes to be finished.

        What is left then (a failed cell, or a single one, which is not worth starting a process for) is the caller's.

        Args:
            run: runs a shard of each ablation in this process.
        """
        before = -1
        while self.count > 1:
            looked_at = run(NONE)
            finished, missing = (
                sum(len(getattr(each, what)) for each in looked_at) for what in ("finished", "missing")
            )
            if missing < 2 or finished == before:
                return self._stop()
            before = finished
            self._start()
            run(Shard(1, self.count))
            self._wait()

    def _start(self) -> None:
        if self._others or self.count == 1:
            return
        self.logs.mkdir(parents=True, exist_ok=True)
        for number in range(2, self.count + 1):
            own = [f"--shard={number}/{self.count}", "--processes=1", "--logger=none"]
            with open(self.logs / f"shard-{number}.log", "wb") as log:
                command = [sys.executable, "-m", "atv.cli", *self.words, *own]
                one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
                self._others.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=one_thread))

    def _wait(self) -> None:
        said = f"waiting for the other processes, which tell of their cells in {self.logs}/shard-*.log"
        with Console().status(said):
            while self._others:
                self._others[-1].wait()
                self._others.pop()

    def _stop(self) -> None:
        for other in self._others:
            other.terminate()
        while self._others:
            self._others.pop().wait()
