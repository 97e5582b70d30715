"""Time of only making masks, against a stable full sort of every row."""

from collections.abc import Callable

import torch
from torch import Tensor

from atv.patterns import Pattern, parse_pattern
from atv.runtime.timing import Row, compare, elapsed, interleaved
from experiments.cost.workload import Shape

SORT = "stable full sort"


def rows(shape: Shape, repeats: int) -> list[Row]:
    """The table's rows for masks of one block's Linears at 50%, unstructured and 2:4."""
    generator = torch.Generator().manual_seed(0)
    hidden, ffn = shape.hidden, shape.ffn
    sizes = [(hidden, hidden)] * 4 + [(ffn, hidden)] * 2 + [(hidden, ffn)]
    scores = [torch.rand(size, generator=generator) for size in sizes]
    table_rows = []
    for pattern in ("unstructured", "2:4"):
        name = f"{pattern} masks of a block"
        runs = {name: _timed(_masks(parse_pattern(pattern)), scores), SORT: _timed(_sorted(pattern), scores)}
        interleaved(runs, 1)
        table_rows.append(compare(interleaved(runs, repeats), name, SORT))
    return table_rows


def _masks(pattern: Pattern) -> Callable[[Tensor], Tensor]:
    return lambda score: pattern.mask(score, 0.5)


def _sorted(pattern: str) -> Callable[[Tensor], Tensor]:
    """A function that makes the same masks by sorting rows, or groups, in full."""
    width = -1 if pattern == "unstructured" else int(pattern.split(":")[1])

    def mask(score: Tensor) -> Tensor:
        groups = score if width == -1 else score.unflatten(-1, (-1, width))
        order = groups.sort(dim=-1, stable=True).indices
        kept = torch.ones_like(groups, dtype=torch.bool)
        return kept.scatter_(-1, order[..., : groups.shape[-1] // 2], False).view_as(score)

    return mask


def _timed(make: Callable[[Tensor], Tensor], scores: list[Tensor]) -> Callable[[], float]:
    return lambda: elapsed(lambda: [make(score) for score in scores])
