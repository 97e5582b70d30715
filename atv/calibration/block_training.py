"""Trains a block while its samples wait at its door."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from atv.calibration.block_gradients import differentiable
from atv.calibration.loop import BlockwiseCalibration
from atv.calibration.step_log import StepLog
from atv.criteria import Pruned
from atv.model.targets import Target
from atv.refinement import BlockReconstruction, PrunedBlock
from atv.runtime.ranks import distributed, gathered


def trained(
    step: BlockReconstruction,
    block: "WaitingBlock",
    dense: Mapping[str, Tensor],
    pruned: Mapping[str, Pruned],
    log: StepLog,
) -> dict[str, Pruned]:
    """Trains the kept weights of a block; returns its Linears, unchanged if training did not lower the block's error.

    The errors before and after, and the duration, are added to ``log``.
    """
    with log.timed("train"), block.trainable():
        weights = {name: made.applied_to(dense[name]) for name, made in pruned.items()}
        before = block.lost(weights)
        learned = step.train(block, weights, {name: made.mask for name, made in pruned.items()})
        after = block.lost(learned)
    better = after < before
    if not better:
        warnings.warn(
            f"reconstruct: training block {block.index} did not lower its error; it stays as it was", stacklevel=2
        )
    log.errors["block"].append(before)
    log.errors["trained block"].append(after if better else before)
    return {name: Pruned(made.mask, learned[name]) for name, made in pruned.items()} if better else dict(pruned)


class WaitingBlock(PrunedBlock):
    """A dense block with the forwards that wait at its door.

    Steps are the same for any number of ranks: one rank computes a batch's gradient while the others wait for it.

    Args:
        index: index of the block.
        loop: the loop that holds this rank's forwards.
        targets: the block's Linears by name.
    """

    def __init__(self, index: int, loop: BlockwiseCalibration, targets: Mapping[str, Target]) -> None:
        self.index, self.module = index, loop.lvlm.blocks[index]
        self._weights = {name: target.weight for name, target in targets.items()}
        self._here = {number: one for number, one in loop.waiting.items() if one.forward.again is not None}
        # The dense block's outputs by batch, kept on the device where hidden states wait.
        self._dense: dict[int, Tensor] = {}
        self._place = None if loop.offloaded is None else torch.device("cpu")
        self.batches = tuple(sorted(number for rank in gathered(list(self._here)) for number in rank))

    @contextmanager
    def trainable(self) -> Iterator[None]:
        """Context in which weights may be replaced and have gradients; everything is restored on exit."""
        before = [(weight, weight.data, weight.requires_grad) for weight in self.module.parameters()]
        with torch.inference_mode(False), torch.no_grad():
            try:
                for number in self._here:
                    self._dense[number] = self._output(number).to(self._place)
                for weight, _, _ in before:
                    weight.requires_grad_(False)
                yield
            finally:
                self._dense.clear()
                for weight, data, learns in before:
                    weight.data = data
                    weight.requires_grad_(learns)

    def lost(self, weights: Mapping[str, Tensor]) -> float:
        self._install(weights)
        sums = {}
        for number, dense in self._dense.items():
            error, valid = self._error(number), self._here[number].tokens.valid
            whole = dense.to(error.device, torch.float64)[valid].square().sum()
            sums[number] = (float(error.sum(dtype=torch.float64)), float(whole))
        every = {number: pair for rank in gathered(sums) for number, pair in rank.items()}
        wrong, all_in_all = (sum(every[number][part] for number in self.batches) for part in (0, 1))
        return wrong / all_in_all if all_in_all > 0 else 0.0

    def gradients(self, batch: int, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self._install(weights)
        found = {name: torch.zeros_like(weights[name]) for name in self._weights}
        if batch in self._here:
            own, kind = list(self._weights.values()), f"block {self.index} ({type(self.module).__name__})"
            with differentiable(kind), torch.enable_grad():
                for weight in own:
                    weight.requires_grad_(True)
                error = self._error(batch)
                # The gradient of a mean over thousands of tokens vanishes in float16, so a larger multiple is computed.
                size = (error.detach().sum().sqrt() / 4).clamp(min=torch.finfo(error.dtype).tiny)
                made = torch.autograd.grad(error.sum() / size, own, allow_unused=True)
            for weight in own:
                weight.requires_grad_(False)
            pairs, mean = zip(self._weights, made, strict=True), size / len(error)
            found |= {name: gradient.to(weights[name]) * mean for name, gradient in pairs if gradient is not None}
        if distributed():
            for gradient in found.values():
                dist.all_reduce(gradient)
        return found

    def _error(self, number: int) -> Tensor:
        """Squared error of each valid token's output, summed over its channels: float32 (tokens,)."""
        # A copy, because autograd cannot save an index that was made in inference mode, a trainer's default.
        output, valid = self._output(number), self._here[number].tokens.valid.clone()
        return (output[valid].float() - self._dense[number].to(output.device)[valid].float()).square().sum(-1)

    def _output(self, number: int) -> Tensor:
        waiting = self._here[number]
        assert waiting.forward.again is not None
        with waiting.awake():
            return waiting.forward.again()

    def _install(self, weights: Mapping[str, Tensor]) -> None:
        for name, weight in self._weights.items():
            weight.data = weights[name].to(weight.dtype)
