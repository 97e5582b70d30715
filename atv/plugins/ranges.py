"""Ranges of options: a number outside of its own is refused by the option's name, and so are NaN and infinity."""

import math


def at_least(least: int, **given: float | None) -> None:
    """Checks options by their names; None passes.

    Raises:
        ValueError: naming the first that is less.
    """
    for name, value in given.items():
        if value is not None and not least <= value < math.inf:
            raise ValueError(f"{name}: expected {least} or more, got {value}")


def above_zero(**given: float | None) -> None:
    """Checks options by their names; None passes.

    Raises:
        ValueError: naming the first that is 0 or less.
    """
    for name, value in given.items():
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name}: expected more than 0, got {value}")
