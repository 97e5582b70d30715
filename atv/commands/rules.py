"""The rules of pruning as options: what several commands take alike."""

from dataclasses import dataclass

from jsonargparse import lazy_instance

from atv.criteria import Criterion, Wanda
from atv.patterns import Pattern
from atv.selection import DriftTopK, TokenSelection


@dataclass(frozen=True)
class Rules:
    """Which tokens count, how a weight is scored, where zeros lie, and how many."""

    selection: TokenSelection = lazy_instance(DriftTopK)
    criterion: Criterion = lazy_instance(Wanda)
    pattern: str | Pattern = "unstructured"
    sparsity: float | None = None
