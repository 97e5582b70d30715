"""Range checks for options: numbers out of range, NaN and infinity are rejected with the option's name."""

import math


def at_least(least: int, **given: float | None) -> None:
    """Checks that options, given by name, are ``least`` or more; None passes.

    Raises:
        ValueError: naming the first that is not.
    """
    for name, value in given.items():
        if value is not None and not least <= value < math.inf:
            raise ValueError(f"{name}: expected {least} or more, got {value}")


def above_zero(**given: float | None) -> None:
    """Checks that options, given by name, are above 0; None passes.

    Raises:
        ValueError: naming the first that is not.
    """
    for name, value in given.items():
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name}: expected more than 0, got {value}")
