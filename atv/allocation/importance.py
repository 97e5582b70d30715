"""Allocations by Linear, in proportion to an importance measured on the dense model."""

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
    """No Linear loses more than ``slack`` over the target; what is left to keep goes by importance, in weights."""

    needs_dense = True

    def __init__(self, slack: float = 0.1) -> None:
        if not 0 <= slack <= 1:
            raise ValueError(f"slack: expected a number in [0, 1], got {slack}")
        self.slack = slack

    def allocate(self, linears: Mapping[str, Target], sparsity: float, dense: DenseStatistics) -> dict[str, float]:
        importance = {name: float(dense.totals[name].sum()) for name in linears}
        floor = max(0.0, 1 - (sparsity + self.slack))
        kept = proportional(importance, sizes(linears), 1 - sparsity, floor)
        return {name: 1 - share for name, share in kept.items()}


class DAS(_ByImportance):
    """TAMP's diversity-aware sparsity: Linears whose outputs differ more keep more (arXiv 2504.09897).

    The importance of a Linear is the mean over samples of (1 - v) + (1 - l) + (1 - vl): the mean positive cosines
    within visual and within text tokens' outputs, and the mean cosine across. A sample that lacks one counts the
    others' mean in its place.

    Args:
        slack: a Linear loses at most the target and this.

    Raises:
        ValueError: for a slack outside [0, 1].
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
    """Linears whose weights move the loss more keep more; gradients are estimated by forwards (arXiv 2310.02998).

    The importance of a Linear is the sum over samples of ``|L(W + eps z) - L(W - eps z)| / (2 eps)``, z standard
    normal, one for each Linear and batch; L is the mean cross-entropy of a sample's text tokens. It takes two forward
    passes a batch and Linear, of a model that is not offloaded.

    Args:
        eps: size of the step.
        slack: a Linear loses at most the target and this.

    Raises:
        ValueError: for an eps that is not positive, or a slack outside [0, 1].
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
                    "allocation: ECoFLaP moves weights, which an offloaded model does not have; load it whole"
                )
            step = self.eps * _normal(linear.weight, (*batch.seed, index))
            losses = []
            for signed in (step, -step):
                with _moved(linear.weight, signed):
                    losses.append(text_loss(model, batch))
            measured[name] = (losses[0] - losses[1]).abs()[:, None] / (2 * self.eps)
        return measured


def text_loss(model: nn.Module, batch: DenseBatch) -> Tensor:
    """Mean next-token cross-entropy of each sample's text tokens, float32 (batch,); 0 for a sample without any."""
    logits = model(**batch.inputs, use_cache=False).logits[:, :-1]
    asked = (batch.valid & ~batch.visual)[:, 1:] & batch.valid[:, :-1]
    entropy = F.cross_entropy(logits[asked].float(), batch.inputs["input_ids"][:, 1:][asked], reduction="none")
    sums = torch.zeros_like(asked, dtype=torch.float32).masked_scatter(asked, entropy).sum(1)
    return sums / asked.sum(1).clamp(min=1)


@contextmanager
def _moved(weight: Tensor, step: Tensor) -> Iterator[None]:
    """The weight with a step added, and then exactly as it was."""
    before = weight.detach().clone()
    weight.data.copy_(before.float() + step)
    try:
        yield
    finally:
        weight.data.copy_(before)


def _normal(weight: Tensor, seed: tuple[int, ...]) -> Tensor:
    """Drawn on the CPU, so that every device has the same."""
    state = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1))
    drawn = torch.randn(weight.shape, generator=torch.Generator().manual_seed(state))
    return drawn.to(weight.device)
