"""Sums over calibration samples, the same however these were sharded, and second moments of a Linear's inputs."""

from collections import defaultdict

import torch
import torch.distributed as dist
from torch import Tensor

from atv.runtime.ranks import distributed, gathered


class SampleSums:
    """Keeps one tensor a key and sample, float32 or float64; ``totals`` adds them in the samples' order, in float64."""

    def __init__(self) -> None:
        self._terms: dict[str, dict[int, Tensor]] = defaultdict(dict)

    def add(self, key: str, sample: int, term: Tensor) -> None:
        """Adds ``term`` to what the sample already has under ``key``."""
        terms = self._terms[key]
        terms[sample] = terms[sample] + term if sample in terms else term

    def totals(self) -> dict[str, Tensor]:
        """Key -> sum over the samples of all ranks: float64 on the CPU, equal on every rank."""
        terms: dict[str, dict[int, Tensor]] = defaultdict(dict)
        # One collective for all keys: a rank without samples knows no key.
        for shard in gathered({key: {s: term.cpu() for s, term in by.items()} for key, by in self._terms.items()}):
            for key, by_sample in shard.items():
                terms[key].update(by_sample)
        return {key: _in_order(by_sample) for key, by_sample in terms.items()}


def _in_order(terms: dict[int, Tensor]) -> Tensor:
    total = torch.zeros_like(next(iter(terms.values())), dtype=torch.float64)
    for sample in sorted(terms):
        total += terms[sample].double()
    return total


class MatrixSum:
    """One float64 matrix, added as terms come: no sample's own is kept.

    Terms are added in the order of a rank's samples and ranks are added last, so another number of ranks moves the
    result by float64 rounding alone.
    """

    def __init__(self) -> None:
        self._sum: Tensor | None = None

    def add(self, term: Tensor) -> None:
        """Adds a float64 matrix, which is then the sum's own."""
        self._sum = term if self._sum is None else self._sum.add_(term)

    def total(self, rows: int, columns: int) -> Tensor:
        """The sum over all ranks, equal on each; the shape is for a rank that has no term."""
        several = distributed()
        if self._sum is None:
            device = "cuda" if several and dist.get_backend() == "nccl" else "cpu"
            self._sum = torch.zeros(rows, columns, dtype=torch.float64, device=device)
        if several:
            dist.all_reduce(self._sum)
        return self._sum


def weighted_gram(inputs: Tensor, weights: Tensor) -> Tensor:
    """X^T X of tokens (n, in), each as often as its weight says, bool or float (n,): float64 (in, in)."""
    entered = weights != 0
    rows = inputs[entered].float()
    if weights.is_floating_point():
        rows = rows * weights[entered].float().sqrt()[:, None]
    return (rows.T @ rows).double()
