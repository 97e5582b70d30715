"""Exact match, as GQA is scored."""

import string
from collections.abc import Mapping
from typing import Any

from atv.evaluation.metrics.base import GroupedScore

_DELETE = str.maketrans("", "", string.punctuation)


def plain(text: str) -> str:
    """Lower-cased and without punctuation.

    >>> plain(" Red.")
    'red'
    """
    return text.lower().translate(_DELETE).strip()


class ExactMatch(GroupedScore):
    """Share of answers that are equal but for case and punctuation."""

    def read(self, prediction: str, question: Mapping[str, Any]) -> str:
        return plain(prediction)

    def credit(self, prediction: str, question: Mapping[str, Any]) -> float:
        return float(plain(prediction) == plain(question["answer"]))
