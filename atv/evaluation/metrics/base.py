"""What all scores share: credit by question, value by group of questions, mean over groups."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor


class GroupedScore(ABC):
    """A score in 0..1: the mean over groups of each group's value, or, by ``stratify``, over categories of such means.

    A group is one question, or the rotations or pair that count as one. A score keeps nothing: what was answered lies
    in one table of all ranks, a row a question with its credit, from which scores, parts and intervals are made.
    """

    stratify = False

    @abstractmethod
    def read(self, prediction: str, question: Mapping[str, Any]) -> str | None:
        """The answer as the rule reads it, or None for one that it cannot: that one is wrong, and counted.

        ``question`` has the columns of the evaluation set.
        """

    def credit(self, prediction: str, question: Mapping[str, Any]) -> float:
        """0 to 1 for one answer."""
        return float(self.read(prediction, question) == question["answer"])

    def value(self, credits: Tensor) -> Tensor:
        """A group's value from the credits of its questions, float64."""
        return credits.mean()

    def parts(self, answers: pd.DataFrame) -> dict[str, float]:
        """Further numbers that the benchmark reports; ``answers`` also has the columns read and answer."""
        return {}

    def group_values(self, answers: pd.DataFrame) -> tuple[Tensor, Tensor]:
        """Every group's value (float64) and category (a hash), ordered by the groups' hashes.

        ``answers`` has a row a question, with the columns credit, group and category.
        """
        groups, strata = (torch.tensor([stable_hash(name) for name in answers[key]]) for key in ("group", "category"))
        order = torch.argsort(groups, stable=True)
        _, sizes = torch.unique_consecutive(groups[order], return_counts=True)
        credits = torch.tensor(answers["credit"].tolist(), dtype=torch.float64)[order]
        values = torch.stack([self.value(part) for part in credits.split(sizes.tolist())])
        return values, strata[order][torch.cumsum(sizes, 0) - sizes]


def stable_hash(text: str) -> int:
    """63 bits that are the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
