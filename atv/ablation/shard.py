"""The part of an ablation's cells that a process runs, so that any scheduler can distribute them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from atv.ablation.cell import Cell


@dataclass(frozen=True)
class Shard:
    """The ``number``-th of ``count`` equal parts, counted from 1; if there are 0 parts, none has a cell."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the part that text such as "2/4" names.

        Raises:
            ValueError: for anything but i/n with 1 <= i <= n.

        >>> Shard.parse("2/4")
        Shard(number=2, count=4)
        """
        matched = re.fullmatch(r"(\d+)/(\d+)", text)
        if not matched or not 1 <= int(matched[1]) <= int(matched[2]):
            raise ValueError(f"shard: expected i/n with 1 <= i <= n, such as 1/4, got {text!r}")
        return cls(int(matched[1]), int(matched[2]))

    def cells(self, cells: Sequence[Cell]) -> Sequence[Cell]:
        """Returns every n-th cell, so that neighbours, which cost about the same, go to different shards."""
        return cells[self.number - 1 :: self.count] if self.count else []


# Runs no cell: only to see what is finished.
NONE = Shard(0, 0)
