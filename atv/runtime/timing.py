"""Timings that can be compared: taken in turns, as medians of ratios within a turn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import TypeVar

import torch

Timing = TypeVar("Timing")


@dataclass(frozen=True)
class Row:
    """A line of the table: how ``name`` compares with ``against``; one ratio, and mostly one timing, a repeat.

    ``limit`` is the most that the median ratio may be, where something was asked for.
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
    """Wall-clock seconds, when all work given to a GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter()


def elapsed(run: Callable[[], object]) -> float:
    """Seconds that a call of ``run`` takes."""
    started = now()
    run()
    return now() - started


def interleaved(runs: Mapping[str, Callable[[], Timing]], repeats: int) -> dict[str, list[Timing]]:
    """What each run took, one a repeat; a repeat does all of them, every second one in the opposite order.

    ``runs`` return their own seconds, or what was made of them. What slows the machine down for a while then slows all
    of them.
    """
    taken: dict[str, list[Timing]] = {name: [] for name in runs}
    for repeat in range(repeats):
        for name in list(runs)[:: 1 if repeat % 2 == 0 else -1]:
            taken[name].append(runs[name]())
    return taken


def compare(seconds: Mapping[str, Sequence[float]], name: str, against: str, limit: float | None = None) -> Row:
    """The row of two entries of what ``interleaved`` measured."""
    ratios = [one / other for one, other in zip(seconds[name], seconds[against], strict=True)]
    return Row(name, against, ratios, seconds[name], limit)
