"""Allocations by Linear, in proportion to its importance in the dense model."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atv.allocation.base import Allocation, DenseStatistics
from atv.allocation.budget import proportional, sizes
from atv.model.batch import DenseBatch
from atv.model.hooks import watching
from atv.model.targets import Target
from atv.plugins import above_zero
from atv.selection.similarity import cosines, density


class _ByImportance(Allocation):
    """Base class of allocations in proportion to importance.

    The sparsity of a Linear is at most the target plus ``slack``; the rest of the weights to keep are distributed by
    importance.
    """

    needs_dense = True

    def __init__(self, slack: float = 0.1) -> None:
        if not 0 <= slack <= 1:
            raise ValueError(f"slack: expected a number in [0, 1], got {slack}")
        self.slack = slack

    def allocate(self, linears: Mapping[str, Target], sparsity: float, dense: DenseStatistics) -> dict[str, float]:
        importance = {name: float(dense.totals[name].sum()) for name in linears}
        floor = max(0.0, 1 - (sparsity + self.slack))
        kept_shares = proportional(importance, sizes(linears), 1 - sparsity, floor)
        return {name: 1 - share for name, share in kept_shares.items()}


class DAS(_ByImportance):
    """Linears with more diverse outputs keep more weights: TAMP's diversity-aware sparsity (arXiv 2504.09897).

    The importance of a Linear is the mean over samples of (1 - v) + (1 - l) + (1 - vl). Here v and l are the mean
    positive cosines between the outputs of visual tokens and of text tokens, and vl is the mean cosine between the two
    modalities. If a sample lacks one of these terms, the mean of the others replaces it.

    Args:
        slack: largest excess of a Linear's sparsity over the target.

    Raises:
        ValueError: if ``slack`` is outside [0, 1].
    """

    def measure(self, model: nn.Module, linears: Mapping[str, nn.Linear], batch: DenseBatch) -> dict[str, Tensor]:
        measured: dict[str, Tensor] = {}

        def add(name: str, inputs: Tensor, output: Tensor) -> None:
            rows = zip(output.reshape(*batch.valid.shape, -1), batch.visual, batch.valid, strict=True)
            diversities = [3 * (1 - density(cosines(row[keep]), visual[keep])) for row, visual, keep in rows]
            measured[name] = torch.stack(diversities)[:, None]

        with watching(linears, add):
            model(**batch.inputs, use_cache=False)
        return measured


class ECoFLaP(_ByImportance):
    """Linears whose weights affect the loss more keep more weights; needs only forward passes (arXiv 2310.02998).

    The importance of a Linear is the sum over samples of ``|L(W + eps z) - L(W - eps z)| / (2 eps)``, an estimate of
    gradients. There is one standard normal z per Linear and batch, and L is the mean cross-entropy of a sample's text
    tokens. This takes two forward passes per batch and Linear, and the model must not be offloaded.

    Args:
        eps: size of the step.
        slack: largest excess of a Linear's sparsity over the target.

    Raises:
        ValueError: if ``eps`` is not positive, or ``slack`` is outside [0, 1].
    """

    def __init__(self, eps: float = 1e-3, slack: float = 0.1) -> None:
        super().__init__(slack)
        above_zero(eps=eps)
        self.eps = eps

    def measure(self, model: nn.Module, linears: Mapping[str, nn.Linear], batch: DenseBatch) -> dict[str, Tensor]:
        measured = {}
        for index, (name, linear) in enumerate(linears.items()):
            if linear.weight.device.type == "meta":
                raise ValueError(
                    "allocation: ECoFLaP changes weights in place and does not support offloaded models; "
                    "load the model without offloading"
                )
            step = self.eps * _normal(linear.weight, (*batch.seed, index))
            losses = []
            for signed_step in (step, -step):
                with _shifted_weight(linear.weight, signed_step):
                    losses.append(text_loss(model, batch))
            measured[name] = (losses[0] - losses[1]).abs()[:, None] / (2 * self.eps)
        return measured


def text_loss(model: nn.Module, batch: DenseBatch) -> Tensor:
    """Returns the mean next-token cross-entropy of each sample's text tokens, float32 (batch,); 0 if it has none."""
    logits = model(**batch.inputs, use_cache=False).logits[:, :-1]
    is_text = (batch.valid & ~batch.visual)[:, 1:] & batch.valid[:, :-1]
    entropy = F.cross_entropy(logits[is_text].float(), batch.inputs["input_ids"][:, 1:][is_text], reduction="none")
    sums = torch.zeros_like(is_text, dtype=torch.float32).masked_scatter(is_text, entropy).sum(1)
    return sums / is_text.sum(1).clamp(min=1)


@contextmanager
def _shifted_weight(weight: Tensor, step: Tensor) -> Iterator[None]:
    """Adds a step to the weight within the context, then restores the weight exactly."""
    original = weight.detach().clone()
    weight.data.copy_(original.float() + step)
    try:
        yield
    finally:
        weight.data.copy_(original)


def _normal(weight: Tensor, seed: tuple[int, ...]) -> Tensor:
    """Returns standard normal values in the weight's shape, drawn on the CPU so that every device gets the same."""
    state = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1))
    values = torch.randn(weight.shape, generator=torch.Generator().manual_seed(state))
    return values.to(weight.device)
