"""Sparsities and N:M patterns as given on a command line: separated by commas, in a list, or as "none"."""

from collections.abc import Sequence
from typing import Any

from atv.patterns import NOfM

# Stands for no N:M patterns.
NO_PATTERNS = "none"


def read_sparsities(values: Sequence[float] | str) -> tuple[float, ...]:
    """Returns the shares of weights to remove, without repetition, from mild to hard.

    >>> read_sparsities("0.3,0.2")
    (0.2, 0.3)

    Raises:
        ValueError: for an empty list, or a share outside (0, 1).
    """
    return tuple(sorted({_read_sparsity(share) for share in _listed(values, "sparsities")}))


def read_patterns(values: Sequence[str] | str) -> tuple[str, ...]:
    """Returns the N:M patterns in the given order, without repetition; ``NO_PATTERNS`` stands for none.

    >>> read_patterns("[2:4, 4:8]"), read_patterns("none")
    (('2:4', '4:8'), ())

    Raises:
        ValueError: for an empty list, or a pattern that is not N:M.
    """
    patterns = [] if values in (NO_PATTERNS, [NO_PATTERNS]) else _listed(values, "patterns")
    return tuple(_read_pattern(pattern) for pattern in dict.fromkeys(patterns))


def option_text(values: Sequence[Any]) -> str:
    """Returns sparsities or patterns as a command line takes them.

    >>> option_text((0.2, 0.3)), option_text(())
    ('0.2,0.3', 'none')
    """
    return ",".join(map(str, values)) or NO_PATTERNS


def _listed(list_or_text: Sequence[Any] | str, option: str) -> list[Any]:
    # A list of patterns without quotes, [2:4,4:8], arrives as text.
    values = list(list_or_text) if isinstance(list_or_text, (list, tuple)) else str(list_or_text).strip("[]").split(",")
    if not values:
        raise ValueError(f"{option}: expected at least one, got none")
    return values


def _read_sparsity(value: Any) -> float:
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = float("nan")
    if not 0 < share < 1:
        raise ValueError(f"sparsities: expected shares above 0 and below 1, such as 0.2,0.3; got {value!r}")
    return share


def _read_pattern(value: Any) -> str:
    try:
        NOfM.parse(str(value).strip())
    except ValueError as error:
        raise ValueError(f"patterns: {value!r} is not N:M such as 2:4 ({error})") from error
    return str(value).strip()
