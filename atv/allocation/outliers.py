"""Allocations by block, from the Wanda scores of the dense model."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from atv.allocation.base import Allocation, DenseStatistics
from atv.allocation.budget import mean, shifted, sizes
from atv.model.batch import DenseBatch
from atv.model.hooks import watching
from atv.model.targets import Target
from atv.plugins import at_least


class _ByWandaScores(Allocation):
    """Base class of allocations by a rate per block: blocks with a higher rate of their Wanda scores keep more weights.

    Wanda scores are ``|W_ij| * ||X_j||``, with norms over all tokens of the calibration set. The sparsity of a block is
    within twice ``spread`` of the target and in [0, 1]; the other blocks make up equally for what is clipped.
    """

    needs_dense = True
    by_block = True
    spread: float

    @abstractmethod
    def rate(self, scores: Sequence[Tensor]) -> float:
        """Returns a block's rate from the scores of its Linears, float32 (out, in) each."""

    def compared(self, rates: Mapping[int, float]) -> Mapping[int, float]:
        """Returns the final rates by block, given the rates of all blocks; by default unchanged."""
        return rates

    def measure(self, model: nn.Module, linears: Mapping[str, nn.Linear], batch: DenseBatch) -> dict[str, Tensor]:
        sums: dict[str, Tensor] = {}

        def add(name: str, inputs: Tensor, output: Tensor) -> None:
            squares = inputs.float().square().reshape(*batch.valid.shape, -1)
            sums[name] = torch.einsum("bl,bli->bi", batch.valid.to(squares), squares)

        with watching(linears, add):
            model(**batch.inputs, use_cache=False)
        return sums

    def allocate(self, linears: Mapping[str, Target], sparsity: float, dense: DenseStatistics) -> dict[str, float]:
        blocks: dict[int, list[str]] = defaultdict(list)
        for name in linears:
            blocks[dense.block_of[name]].append(name)
        # Scores of one block at a time: those of a whole decoder take twice the memory of its weights in bfloat16.
        rates = self.compared(
            {block: self.rate([_wanda_scores(name, dense) for name in names]) for block, names in blocks.items()}
        )
        low, high = min(rates.values()), max(rates.values())
        scaled_rates = {block: (rate - low) / ((high - low) or 1) * 2 * self.spread for block, rate in rates.items()}
        kept_shares = {name: scaled_rates[dense.block_of[name]] for name in linears}
        size, mean_kept = sizes(linears), 1 - sparsity
        centred_shares = {name: value - mean(kept_shares, size) + mean_kept for name, value in kept_shares.items()}
        bounds = max(0.0, mean_kept - 2 * self.spread), min(1.0, mean_kept + 2 * self.spread)
        return {name: 1 - share for name, share in shifted(centred_shares, size, mean_kept, *bounds).items()}


def _wanda_scores(name: str, dense: DenseStatistics) -> Tensor:
    """Returns the Wanda scores of a Linear, float32 (out, in)."""
    weight = dense.weight(name)
    norm = dense.totals[name].sqrt().to(weight.device, torch.float32)
    return weight.float().abs() * norm


class OWL(_ByWandaScores):
    """Blocks with more outliers among their Wanda scores keep more weights (OWL, arXiv 2310.05175).

    keep_b = (D_b - min D) / (max D - min D) * 2 * spread - mean of that + 1 - S, where D_b is the share of the
    block's Wanda scores above ``threshold`` times their mean.

    Args:
        threshold: M in the paper.
        spread: lambda in the paper; every block's sparsity is within twice this value of the target.

    Raises:
        ValueError: if an argument is negative.
    """

    def __init__(self, threshold: float = 5.0, spread: float = 0.08) -> None:
        at_least(0, threshold=threshold, spread=spread)
        self.threshold, self.spread = threshold, spread

    def rate(self, scores: Sequence[Tensor]) -> float:
        count = sum(score.numel() for score in scores)
        average = sum(float(score.double().sum()) for score in scores) / count
        return sum(int((score > self.threshold * average).sum()) for score in scores) / count


class DLP(_ByWandaScores):
    """Blocks with a low median Wanda score keep more weights (DLP, arXiv 2505.23807).

    keep_b is computed as in ``OWL`` from D_b = 1 - s_b / sum of s, where s_b is the (lower) median of the block's Wanda
    scores.

    Args:
        spread: alpha in the paper; every block's sparsity is within twice this value of the target.

    Raises:
        ValueError: if ``spread`` is negative.
    """

    def __init__(self, spread: float = 0.15) -> None:
        at_least(0, spread=spread)
        self.spread = spread

    def rate(self, scores: Sequence[Tensor]) -> float:
        return float(torch.cat([score.flatten() for score in scores]).median())

    def compared(self, rates: Mapping[int, float]) -> Mapping[int, float]:
        total = sum(rates.values()) or 1.0
        return {block: 1 - median / total for block, median in rates.items()}
