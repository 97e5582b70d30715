"""Second moments of a Linear's inputs."""

import torch
import torch.distributed as dist
from torch import Tensor


class GramSum:
    """X^T X over tokens, float64 (in, in), added as tokens come: no sample's own is kept.

    Tokens are added in the order of a rank's samples and ranks are added last, so another number of ranks moves the
    result by float64 rounding alone.
    """

    def __init__(self) -> None:
        self._sum: Tensor | None = None

    def add(self, inputs: Tensor, weights: Tensor) -> None:
        """Adds tokens (n, in), each as often as its weight says: bool or float (n,)."""
        entered = weights != 0
        rows = inputs[entered].float()
        if weights.is_floating_point():
            rows = rows * weights[entered].float().sqrt()[:, None]
        product = (rows.T @ rows).double()
        self._sum = product if self._sum is None else self._sum.add_(product)

    def total(self, width: int) -> Tensor:
        """The sum over all ranks, equal on each; ``width`` is the number of inputs, for a rank that has none."""
        distributed = dist.is_available() and dist.is_initialized()
        if self._sum is None:
            device = "cuda" if distributed and dist.get_backend() == "nccl" else "cpu"
            self._sum = torch.zeros(width, width, dtype=torch.float64, device=device)
        if distributed:
            dist.all_reduce(self._sum)
        return self._sum
