"""Sums over calibration samples that do not depend on how the samples were sharded."""

import torch
import torch.distributed as dist
from torch import Tensor


class SampleSums:
    """Keeps one float32 tensor a sample; ``total`` adds them in the samples' order, in float64, over all ranks."""

    def __init__(self) -> None:
        self._terms: dict[int, Tensor] = {}

    def add(self, sample: int, term: Tensor) -> None:
        """Adds ``term`` to what the sample already has."""
        self._terms[sample] = self._terms[sample] + term if sample in self._terms else term

    def total(self) -> Tensor:
        """The sum, float64, equal on every rank.

        Raises:
            ValueError: when no rank has a sample.
        """
        terms = {sample: term.cpu() for sample, term in self._terms.items()}
        if dist.is_available() and dist.is_initialized():
            shards: list[dict[int, Tensor]] = [{} for _ in range(dist.get_world_size())]
            dist.all_gather_object(shards, terms)
            terms = {sample: term for shard in shards for sample, term in shard.items()}
        if not terms:
            raise ValueError("calibration: there are no samples")
        result = torch.zeros_like(next(iter(terms.values())), dtype=torch.float64)
        for sample in sorted(terms):
            result += terms[sample].double()
        return result
