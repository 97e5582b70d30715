"""Sums over calibration samples that do not depend on how the samples were sharded."""

from collections import defaultdict

import torch
from torch import Tensor

from atv.runtime.ranks import gathered


class SampleSums:
    """Keeps one float32 tensor a key and sample; ``totals`` adds them in the samples' order, in float64."""

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
