"""What all scores share: credit by question, value by group of questions, mean over groups."""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class GroupedScore(Metric):
    """A score in 0..1: the mean over groups of each group's value, or, by ``stratify``, over categories of such means.

    A group is one question, or the rotations or pair that count as one. ``unread`` counts the answers that the rule
    could not read.
    """

    credits: list[Tensor]
    groups: list[Tensor]
    strata: list[Tensor]
    unread: Tensor

    full_state_update = False
    higher_is_better = True
    stratify = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("credits", [], dist_reduce_fx="cat")
        self.add_state("groups", [], dist_reduce_fx="cat")
        self.add_state("strata", [], dist_reduce_fx="cat")
        self.add_state("unread", torch.tensor(0), dist_reduce_fx="sum")

    @abstractmethod
    def read(self, prediction: str, question: Mapping[str, Any]) -> str | None:
        """The answer as the rule reads it, or None for one that it cannot: that one is wrong, and counted.

        ``question`` has the columns of the evaluation set.
        """

    def credit(self, prediction: str, question: Mapping[str, Any]) -> float:
        """0 to 1 for one answer."""
        return float(self.read(prediction, question) == question["answer"])

    def value(self, credits: Tensor) -> Tensor:
        """A group's value from the credits of its questions."""
        return credits.mean()

    def update(self, predictions: Sequence[str], questions: Sequence[Mapping[str, Any]]) -> None:
        """Adds answers to questions."""
        credits = [self.credit(p, q) for p, q in zip(predictions, questions, strict=True)]
        self.unread += sum(self.read(p, q) is None for p, q in zip(predictions, questions, strict=True))
        self.add(credits, [q["group"] for q in questions], [q["category"] for q in questions])

    def add(self, credits: Sequence[float], groups: Sequence[str], categories: Sequence[str]) -> None:
        """Adds answers whose credit is known; names are kept as hashes that are equal on all ranks."""
        self.credits.append(torch.tensor(credits, dtype=torch.float64))
        self.groups.append(torch.tensor([stable_hash(group) for group in groups]))
        self.strata.append(torch.tensor([stable_hash(name) for name in categories]))

    def compute(self) -> Tensor:
        """The score, float64."""
        return self.mean(*self.group_values())

    def parts(self) -> dict[str, float]:
        """Further numbers that the benchmark reports, from the answers held here.

        Where ranks hold different answers, call it inside ``sync_context()``.
        """
        return {}

    def mean(self, values: Tensor, strata: Tensor) -> Tensor:
        """The score of groups with the given values and categories."""
        if not self.stratify:
            return values.mean()
        return torch.stack([values[strata == stratum].mean() for stratum in strata.unique()]).mean()

    def group_values(self) -> tuple[Tensor, Tensor]:
        """(value, stratum) of every group, in the order of the groups' hashes."""
        credits, groups, strata = (dim_zero_cat(getattr(self, state)) for state in ("credits", "groups", "strata"))
        order = torch.argsort(groups, stable=True)
        _, sizes = torch.unique_consecutive(groups[order], return_counts=True)
        values = torch.stack([self.value(part) for part in credits[order].split(sizes.tolist())])
        firsts = torch.cumsum(sizes, 0) - sizes
        return values, strata[order][firsts]


def stable_hash(text: str) -> int:
    """63 bits that are the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
