"""P-values of several comparisons, corrected together, and how one is written."""

from collections.abc import Sequence
from typing import Literal

from statsmodels.stats.multitest import multipletests


def corrected(p: Sequence[float], against: Literal["any false one", "a share of false ones"]) -> list[float]:
    """The p-values of several comparisons, in their order.

    Args:
        against: "any false one" holds the chance of one or more (Holm, 1979), "a share of false ones" the false
            discovery rate (Benjamini and Hochberg, 1995).
    """
    method = {"any false one": "holm", "a share of false ones": "fdr_bh"}[against]
    return [float(value) for value in multipletests(p, method=method)[1]] if len(p) else []


def written_p(p: float) -> str:
    """A p-value as a reader needs it.

    >>> written_p(0.0002), written_p(0.0312), written_p(1.0)
    ('<0.001', '0.031', '1.000')
    """
    return "<0.001" if p < 0.001 else f"{p:.3f}"
