"""Sparsity patterns, a file for each rule or family of rules: which of the scored weights are kept.

Scores are the criterion's.
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
    """The pattern itself, or the one that "unstructured", "2:4" and the like, a class name or a dotted path names.

    Raises:
        ValueError: for other text.
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
    """The pattern that a report's settings describe; a plug-in's file must have been imported.

    Raises:
        ValueError: for a class that is not known, or cannot be made from these arguments.
    """
    given = dict(settings)
    try:
        kind = find(given.pop("class"), Pattern, "pattern")
    except UnknownNameError as error:
        raise ValueError(f"{error}; a pattern of your own needs its file (--plugin FILE)") from error
    try:
        return kind(**given)
    except TypeError as error:
        raise ValueError(f"pattern: {kind.__name__} cannot be made from {given}: {error}") from error


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
