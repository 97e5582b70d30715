"""Sums over calibration samples that do not depend on sharding, and second moments of a Linear's inputs."""

from collections import defaultdict

import torch
import torch.distributed as dist
from torch import Tensor

from atv.runtime.ranks import distributed, gathered


class SampleSums:
    """Keeps one float32 or float64 tensor per key and sample; ``totals`` adds them in sample order, in float64."""

    def __init__(self) -> None:
        self._terms: dict[str, dict[int, Tensor]] = defaultdict(dict)

    def add(self, key: str, sample: int, term: Tensor) -> None:
        """Adds ``term`` to the value that the sample already has under ``key``."""
        terms = self._terms[key]
        terms[sample] = terms[sample] + term if sample in terms else term

    def totals(self) -> dict[str, Tensor]:
        """Returns key -> sum over the samples of all ranks: float64 on the CPU, equal on every rank."""
        terms: dict[str, dict[int, Tensor]] = defaultdict(dict)
        # One collective for all keys, because a rank without samples knows no keys.
        for rank_terms in gathered(
            {key: {sample: term.cpu() for sample, term in own_terms.items()} for key, own_terms in self._terms.items()}
        ):
            for key, by_sample in rank_terms.items():
                terms[key].update(by_sample)
        return {key: _sum_in_order(by_sample) for key, by_sample in terms.items()}


def _sum_in_order(terms: dict[int, Tensor]) -> Tensor:
    total = torch.zeros_like(next(iter(terms.values())), dtype=torch.float64)
    for sample in sorted(terms):
        total += terms[sample].double()
    return total


class MatrixSum:
    """Sum of float64 matrices that are added as they arrive; the terms of single samples are not kept.

    Terms are added in the order of a rank's samples, and ranks are added last. A different number of ranks therefore
    changes the result only by float64 rounding.
    """

    def __init__(self) -> None:
        self._sum: Tensor | None = None

    def add(self, term: Tensor) -> None:
        """Adds a float64 matrix, which the sum then owns and may change in place."""
        self._sum = term if self._sum is None else self._sum.add_(term)

    def total(self, rows: int, columns: int) -> Tensor:
        """Returns the sum over all ranks, equal on each; a rank without terms takes its shape from the arguments."""
        is_distributed = distributed()
        if self._sum is None:
            device = "cuda" if is_distributed and dist.get_backend() == "nccl" else "cpu"
            self._sum = torch.zeros(rows, columns, dtype=torch.float64, device=device)
        if is_distributed:
            dist.all_reduce(self._sum)
        return self._sum


def weighted_gram(inputs: Tensor, weights: Tensor) -> Tensor:
    """Returns X^T X of tokens (n, in), each counted with its weight (n,), bool or float: float64 (in, in)."""
    has_weight = weights != 0
    rows = inputs[has_weight].float()
    if weights.is_floating_point():
        rows = rows * weights[has_weight].float().sqrt()[:, None]
    return (rows.T @ rows).double()
