"""How the cost grows with quantities that should change it linearly: samples, tokens, weights, blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from atv.runtime.timing import interleaved
from experiments.cost.floor import floor
from experiments.cost.whole_models import ATV, FLOOR, TimedPruning
from experiments.cost.workload import Shape, random_batches, random_llava

BASE = Shape(hidden=384, ffn=1152, blocks=3, samples=6, visual=144, text=16)
FACTORS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Growth:
    """Median seconds of ATV-Pruning and of the floor at growing ``sizes``; ``axis`` says what a size counts."""

    axis: str
    sizes: Sequence[float]
    seconds: Mapping[str, Sequence[float]]

    def line(self, name: str) -> tuple[float, float]:
        """Slope and intercept of the least-squares line."""
        slope, intercept = np.polyfit(self.sizes, self.seconds[name], 1)
        return float(slope), float(intercept)

    def r_squared(self, name: str) -> float:
        """Share of the variance that the line explains."""
        return float(np.corrcoef(self.sizes, self.seconds[name])[0, 1] ** 2)


def growths(base: Shape, repeats: int) -> list[Growth]:
    """One growth per quantity; the other quantities stay as in ``base``."""
    widths = [base.hidden + 64 * step for step in (0, 2, 4, 6)]
    return [
        _grow("samples", [(base.samples * n, replace(base, samples=base.samples * n)) for n in FACTORS], repeats),
        _grow("tokens per sample", [(_tokens(s), s) for s in (_longer(base, n) for n in FACTORS)], repeats),
        _grow("million weights per block", [(_weights(s), s) for s in (_wider(base, w) for w in widths)], repeats),
        _grow("blocks", [(base.blocks * n, replace(base, blocks=base.blocks * n)) for n in FACTORS], repeats),
    ]


def _longer(base: Shape, factor: int) -> Shape:
    return replace(base, pictures=base.pictures * factor, text=base.text * factor)


def _tokens(shape: Shape) -> int:
    return shape.pictures * shape.visual + shape.text


def _wider(base: Shape, hidden: int) -> Shape:
    return replace(base, hidden=hidden, ffn=hidden * base.ffn // base.hidden)


def _weights(shape: Shape) -> float:
    return (4 * shape.hidden**2 + 3 * shape.hidden * shape.ffn) / 1e6


def _grow(axis: str, points: Sequence[tuple[float, Shape]], repeats: int) -> Growth:
    seconds: dict[str, list[float]] = {ATV: [], FLOOR: []}
    for _, shape in points:
        for name, timings in _measure(shape, repeats).items():
            seconds[name].append(median(timings))
    return Growth(axis, [size for size, _ in points], seconds)


def _measure(shape: Shape, repeats: int) -> dict[str, list[float]]:
    model, batches = random_llava(shape), random_batches(shape)
    return interleaved(
        {ATV: TimedPruning(model, batches, "DriftTopK").run, FLOOR: lambda: floor(model, batches)}, repeats
    )
