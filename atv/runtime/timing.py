"""Comparable timings: runs take turns, and are compared by the median of the ratios within a turn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import TypeVar

import torch

Timing = TypeVar("Timing")


@dataclass(frozen=True)
class Row:
    """A row of the timing table: ``name`` compared with ``against``, one ratio (and usually one timing) per repeat.

    ``limit`` is the largest permitted median ratio, or None if there is no requirement.
    """

    name: str
    against: str
    ratios: Sequence[float]
    seconds: Sequence[float] = field(default_factory=list)
    limit: float | None = None

    @property
    def met(self) -> bool | None:
        return None if self.limit is None else median(self.ratios) <= self.limit


def now() -> float:
    """Returns wall-clock seconds, after all work submitted to a GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter()


def elapsed(run: Callable[[], object]) -> float:
    """Returns the seconds that a call of ``run`` takes."""
    started = now()
    run()
    return now() - started


def interleaved(runs: Mapping[str, Callable[[], Timing]], repeats: int) -> dict[str, list[Timing]]:
    """Returns the timings of each run, one per repeat; a repeat makes all runs, every second repeat in reverse order.

    ``runs`` return their own seconds, or values derived from them. A temporary slowdown of the machine thus affects all
    runs.
    """
    timings: dict[str, list[Timing]] = {name: [] for name in runs}
    for repeat in range(repeats):
        for name in list(runs)[:: 1 if repeat % 2 == 0 else -1]:
            timings[name].append(runs[name]())
    return timings


def compare(seconds: Mapping[str, Sequence[float]], name: str, against: str, limit: float | None = None) -> Row:
    """Returns the row that compares two entries of the result of ``interleaved``."""
    ratios = [
        run_seconds / baseline_seconds
        for run_seconds, baseline_seconds in zip(seconds[name], seconds[against], strict=True)
    ]
    return Row(name, against, ratios, seconds[name], limit)
