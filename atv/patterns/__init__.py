"""Sparsity patterns, with one file per rule or family of rules: which of the scored weights are kept.

The scores come from the criterion.
"""

import re
from collections.abc import Mapping
from typing import Any

from atv.patterns.base import Pattern
from atv.patterns.n_of_m import NOfM
from atv.patterns.structured import AttentionHeads, FFNChannels
from atv.patterns.unstructured import PerBlock, PerLayer, Unstructured
from atv.patterns.whole_blocks import WholeBlocks
from atv.patterns.whole_experts import WholeExperts
from atv.plugins import UnknownNameError, find, resolve


def parse_pattern(pattern: Pattern | str) -> Pattern:
    """Returns ``pattern`` itself, or the pattern that its text names.

    Args:
        pattern: a pattern, "unstructured", N:M such as "2:4", a class name, or a dotted path.

    Raises:
        ValueError: if the text names no pattern.
    """
    if pattern == "unstructured":
        return Unstructured()
    if isinstance(pattern, str) and re.match(r"\d+:", pattern):
        return NOfM.parse(pattern)
    if isinstance(pattern, str):
        try:
            find(pattern, Pattern, "pattern")
        except UnknownNameError as error:
            raise ValueError(f"{error}, 'unstructured', or N:M such as '2:4'") from error
    return resolve(pattern, Pattern, "pattern")


def recorded_pattern(settings: Mapping[str, Any]) -> Pattern:
    """Returns the pattern that a report's settings describe; the file of a plug-in must already have been imported.

    Raises:
        ValueError: if the class is unknown or cannot be constructed from these arguments.
    """
    arguments = dict(settings)
    try:
        pattern_class = find(arguments.pop("class"), Pattern, "pattern")
    except UnknownNameError as error:
        raise ValueError(f"{error}; for your own pattern, pass its file (--plugin FILE)") from error
    try:
        return pattern_class(**arguments)
    except TypeError as error:
        raise ValueError(
            f"pattern: {pattern_class.__name__} cannot be constructed from {arguments}: {error}"
        ) from error


__all__ = [
    "AttentionHeads",
    "FFNChannels",
    "NOfM",
    "Pattern",
    "PerBlock",
    "PerLayer",
    "Unstructured",
    "WholeBlocks",
    "WholeExperts",
]
