"""What all scores share: a credit per question, a value per group of questions, and the mean over groups."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor


class GroupedScore(ABC):
    """A score in 0..1: the mean of the groups' values or, with ``stratify``, the mean over categories of such means.

    A group is one question, or the rotations or the pair that count as one. A score keeps no state: the answers of all
    ranks are in one table, one row per question with its credit, from which scores, parts and intervals are computed.
    """

    stratify = False

    @abstractmethod
    def read(self, prediction: str, question: Mapping[str, Any]) -> str | None:
        """Reads the answer by the score's rule; None means that it cannot be read: it is then wrong, and still counts.

        ``question`` has the columns of the evaluation set.
        """

    def credit(self, prediction: str, question: Mapping[str, Any]) -> float:
        """Returns the credit for one answer, from 0 to 1."""
        return float(self.read(prediction, question) == question["answer"])

    def value(self, credits: Tensor) -> Tensor:
        """Returns a group's value from the credits of its questions, float64."""
        return credits.mean()

    def parts(self, answers: pd.DataFrame) -> dict[str, float]:
        """Returns further numbers that the benchmark reports; ``answers`` also has the columns read and answer."""
        return {}

    def group_values(self, answers: pd.DataFrame) -> tuple[Tensor, Tensor]:
        """Returns each group's value (float64) and category (a hash), ordered by the groups' hashes.

        ``answers`` has one row per question, with the columns credit, group and category.
        """
        groups, strata = (torch.tensor([stable_hash(name) for name in answers[key]]) for key in ("group", "category"))
        order = torch.argsort(groups, stable=True)
        _, sizes = torch.unique_consecutive(groups[order], return_counts=True)
        credits = torch.tensor(answers["credit"].tolist(), dtype=torch.float64)[order]
        values = torch.stack([self.value(group_credits) for group_credits in credits.split(sizes.tolist())])
        return values, strata[order][torch.cumsum(sizes, 0) - sizes]


def stable_hash(text: str) -> int:
    """Returns a 63-bit hash that is the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
