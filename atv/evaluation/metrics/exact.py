"""Exact match, as GQA is scored."""

import string
from collections.abc import Mapping
from typing import Any

from atv.evaluation.metrics.base import GroupedScore

_DELETE = str.maketrans("", "", string.punctuation)


def exact_match(prediction: str, answer: str) -> bool:
    """Equality after lower-casing and deleting punctuation.

    >>> exact_match(" Red.", "red")
    True
    """
    return prediction.lower().translate(_DELETE).strip() == answer.lower().translate(_DELETE).strip()


class ExactMatch(GroupedScore):
    """Share of exact matches."""

    def credit(self, prediction: str, question: Mapping[str, Any]) -> float:
        return float(exact_match(prediction, question["answer"]))
