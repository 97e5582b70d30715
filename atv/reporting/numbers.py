"""Formats numbers for readers of the report."""

import math
from collections.abc import Mapping

from atv.ablation.findings import Finding
from atv.statistics.estimates import CONFIDENCE


def value_and_interval(finding: Finding) -> tuple[str, str]:
    """Formats our number and its interval to two digits of the interval's width; names its confidence unless 95%.

    >>> from atv.statistics.estimates import Estimate
    >>> value_and_interval(Finding("", "", Estimate(12.3456, 9.0, 15.4), "points"))
    ('12.3', '[9.0, 15.4]')
    >>> value_and_interval(Finding("", "", Estimate(12.3456, -math.inf, math.inf), "points"))
    ('12.35', '(of one seed, no interval)')
    """
    estimate = finding.ours
    width = estimate.high - estimate.low
    if math.isinf(estimate.low) and math.isinf(estimate.high):
        return number(estimate.value, 2), "(of one seed, no interval)"
    digits = min(max(1 - math.floor(math.log10(width)), 0), 6) if 0 < width < math.inf else 2
    value, low, high = (number(value, digits) for value in (estimate.value, estimate.low, estimate.high))
    confidence_note = "" if estimate.confidence == CONFIDENCE else f" at {100 * estimate.confidence:g}%"
    return value, f"[{low}, {high}]{confidence_note}"


def number(value: float, digits: int | None = None) -> str:
    """Formats a number with a true minus sign; without ``digits``, to up to six significant digits.

    >>> number(1234.56, 1), number(0.0), number(float("nan"), 1)
    ('1,234.6', '0', 'not a number')
    """
    if math.isnan(value):
        return "not a number"
    text = f"{value:,.6g}" if digits is None else f"{value:,.{digits}f}"
    # An interval's bound of -0.04 must not be shown as -0.0.
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", "\N{MINUS SIGN}")


def duration(seconds: float) -> str:
    """Formats a duration in words.

    >>> duration(7384), duration(419), duration(4.2)
    ('2 h 3 min', '6 min 59 s', '4.2 s')
    """
    minutes, seconds_left = divmod(round(seconds), 60)
    if not minutes:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds_left} s"


def strip(finding: Finding) -> Mapping[str, float] | None:
    """Returns where low, value, high and bound lie on a line, in percent of its length; None if one is not finite."""
    estimate = finding.ours
    values = {"low": estimate.low, "value": estimate.value, "high": estimate.high, "bound": finding.bound}
    if not all(map(math.isfinite, values.values())):
        return None
    least, span = min(values.values()), max(values.values()) - min(values.values())
    return {name: round(6 + 88 * (value - least) / span, 2) if span else 50 for name, value in values.items()}
