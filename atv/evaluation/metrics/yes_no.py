"""Yes/no answers: POPE's accuracy, accuracy with pairs, and MME's points."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_f1_score, binary_precision, binary_recall

from atv.evaluation.metrics.base import GroupedScore, stable_hash

PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")


def strict_yes_no(prediction: str) -> str | None:
    """Reads an answer by POPE's rule: the whole answer, lower-cased and stripped; "Yes." is wrong.

    >>> strict_yes_no("Yes"), strict_yes_no("Yes.")
    ('yes', None)
    """
    answer = prediction.lower().strip()
    return answer if answer in ("yes", "no") else None


def opening_yes_no(prediction: str) -> str | None:
    """Reads an answer by MME's rule: without dots, yes or no in the first four characters, or just y or n.

    >>> opening_yes_no("No, there is none."), opening_yes_no("y."), opening_yes_no("There is no")
    ('no', 'yes', None)
    """
    answer = prediction.lower().strip().replace(".", "")
    if answer in ("y", "n"):
        return {"y": "yes", "n": "no"}[answer]
    return "yes" if "yes" in answer[:4] else "no" if "no" in answer[:4] else None


class YesNo(GroupedScore):
    """POPE's accuracy; its parts are precision, recall and F1 of "yes".

    An answer that is neither yes nor no is wrong. lmms-eval leaves it out of recall; here it is a miss, as in accuracy.

    >>> rows = pd.DataFrame({"read": ["yes", None, "yes"], "answer": ["yes", "yes", "no"]})
    >>> YesNo().parts(rows)
    {'precision': 0.5, 'recall': 0.5, 'f1': 0.5}
    """

    def read(self, prediction: str, question: Mapping[str, Any]) -> str | None:
        return strict_yes_no(prediction)

    def parts(self, answers: pd.DataFrame) -> dict[str, float]:
        predicted_yes, truly_yes = (
            torch.tensor((answers[column] == "yes").to_numpy(int)) for column in ("read", "answer")
        )
        rates = {"precision": binary_precision, "recall": binary_recall, "f1": binary_f1_score}
        return {name: float(rate(predicted_yes, truly_yes)) for name, rate in rates.items()}


class PairedYesNo(GroupedScore):
    """MME's score over its maximum: the mean over categories of (acc + acc+) / 2; acc+ counts fully correct pairs."""

    stratify = True

    def read(self, prediction: str, question: Mapping[str, Any]) -> str | None:
        return opening_yes_no(prediction)

    def value(self, credits: Tensor) -> Tensor:
        return (credits.mean() + credits.min()) / 2


class MMEPoints(PairedYesNo):
    """MME's score over its maximum; its parts are acc% + acc+% of each category that occurs, and their two sums.

    >>> rows = pd.DataFrame({"credit": [1.0, 0.0], "group": "1.png", "category": "count"})
    >>> MMEPoints().parts(rows)
    {'count': 50.0, 'perception': 50.0, 'cognition': 0}
    """

    def parts(self, answers: pd.DataFrame) -> dict[str, float]:
        values, strata = self.group_values(answers)
        # A group's value is the mean of two shares; its points are the sum of two percentages.
        values_by_category = {name: values[strata == stable_hash(name)] for name in PERCEPTION + COGNITION}
        points = {
            name: 200 * float(category_values.mean())
            for name, category_values in values_by_category.items()
            if len(category_values)
        }
        sums = {"perception": PERCEPTION, "cognition": COGNITION}
        return points | {name: sum(points.get(category, 0) for category in members) for name, members in sums.items()}
