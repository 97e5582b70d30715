"""Yes/no answers: POPE's accuracy, and MME's accuracy with pairs."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from atv.evaluation.metrics.base import GroupedScore


def strict_yes_no(prediction: str, answer: str) -> bool:
    """POPE's rule: lower-cased and stripped, the whole answer; "Yes." is wrong.

    >>> strict_yes_no("Yes", "yes"), strict_yes_no("Yes.", "yes")
    (True, False)
    """
    return prediction.lower().strip() == answer


def opening_yes_no(prediction: str, answer: str) -> bool:
    """MME's rule: without dots, the answer within the first four characters.

    >>> opening_yes_no("No, there is none.", "no")
    True
    """
    opening = prediction.lower().strip().replace(".", "")[:4]
    said = "yes" if "yes" in opening else "no" if "no" in opening else None
    return said == answer.lower().strip()


class YesNo(GroupedScore):
    """POPE's accuracy."""

    def credit(self, prediction: str, question: Mapping[str, Any]) -> float:
        return float(strict_yes_no(prediction, question["answer"]))


class PairedYesNo(GroupedScore):
    """MME's score over its maximum: the mean over categories of (acc + acc+) / 2, acc+ counting pairs all right."""

    stratify = True

    def credit(self, prediction: str, question: Mapping[str, Any]) -> float:
        return float(opening_yes_no(prediction, question["answer"]))

    def value(self, credits: Tensor) -> Tensor:
        return (credits.mean() + credits.min()) / 2
