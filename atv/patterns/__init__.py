"""Sparsity patterns: which of the scored weights are kept."""

from atv.patterns.base import Pattern
from atv.patterns.n_of_m import NOfM
from atv.patterns.unstructured import Unstructured


def parse_pattern(pattern: Pattern | str) -> Pattern:
    """The pattern itself, or the one that "unstructured", "2:4" and the like name.

    Raises:
        ValueError: for other text.
    """
    if isinstance(pattern, Pattern):
        return pattern
    return Unstructured() if pattern == "unstructured" else NOfM.parse(pattern)


__all__ = ["NOfM", "Pattern", "Unstructured", "parse_pattern"]
