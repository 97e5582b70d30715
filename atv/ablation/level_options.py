"""Sparsities and N:M patterns as given on a command line: separated by commas, in a list, or as "none"."""

from collections.abc import Sequence
from typing import Any

from atv.patterns import NOfM

# Stands for no N:M patterns.
NO_PATTERNS = "none"


def read_sparsities(given: Sequence[float] | str) -> tuple[float, ...]:
    """Returns the shares of weights to remove, without repetition, from mild to hard.

    >>> read_sparsities("0.3,0.2")
    (0.2, 0.3)

    Raises:
        ValueError: for an empty list, or a share outside (0, 1).
    """
    return tuple(sorted({_sparsity(each) for each in _listed(given, "sparsities")}))


def read_patterns(given: Sequence[str] | str) -> tuple[str, ...]:
    """Returns the N:M patterns in the given order, without repetition; ``NO_PATTERNS`` stands for none.

    >>> read_patterns("[2:4, 4:8]"), read_patterns("none")
    (('2:4', '4:8'), ())

    Raises:
        ValueError: for an empty list, or a pattern that is not N:M.
    """
    named = [] if given in (NO_PATTERNS, [NO_PATTERNS]) else _listed(given, "patterns")
    return tuple(_pattern(each) for each in dict.fromkeys(named))


def written(values: Sequence[Any]) -> str:
    """Returns sparsities or patterns as a command line takes them.

    >>> written((0.2, 0.3)), written(())
    ('0.2,0.3', 'none')
    """
    return ",".join(map(str, values)) or NO_PATTERNS


def _listed(given: Sequence[Any] | str, option: str) -> list[Any]:
    # A list of patterns without quotes, [2:4,4:8], arrives as text.
    found = list(given) if isinstance(given, (list, tuple)) else str(given).strip("[]").split(",")
    if not found:
        raise ValueError(f"{option}: expected at least one, got none")
    return found


def _sparsity(given: Any) -> float:
    try:
        found = float(given)
    except (TypeError, ValueError):
        found = float("nan")
    if not 0 < found < 1:
        raise ValueError(f"sparsities: expected shares above 0 and below 1, such as 0.2,0.3; got {given!r}")
    return found


def _pattern(given: Any) -> str:
    try:
        NOfM.parse(str(given).strip())
    except ValueError as error:
        raise ValueError(f"patterns: {given!r} is not N:M such as 2:4 ({error})") from error
    return str(given).strip()
