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
        weights = {name: pruned_linear.applied_to(dense[name]) for name, pruned_linear in pruned.items()}
        error_before = block.lost(weights)
        trained_weights = step.train(
            block, weights, {name: pruned_linear.mask for name, pruned_linear in pruned.items()}
        )
        error_after = block.lost(trained_weights)
    improved = error_after < error_before
    if not improved:
        warnings.warn(
            f"reconstruct: training block {block.index} did not lower its error; it stays as it was", stacklevel=2
        )
    log.errors["block"].append(error_before)
    log.errors["trained block"].append(error_after if improved else error_before)
    return (
        {name: Pruned(pruned_linear.mask, trained_weights[name]) for name, pruned_linear in pruned.items()}
        if improved
        else dict(pruned)
    )


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
        self._own_forwards = {
            batch: waiting for batch, waiting in loop.waiting.items() if waiting.forward.rerun is not None
        }
        # The dense block's outputs by batch, kept on the device where hidden states wait.
        self._dense_outputs: dict[int, Tensor] = {}
        self._output_device = None if loop.offloaded is None else torch.device("cpu")
        self.batches = tuple(
            sorted(batch for batch_numbers in gathered(list(self._own_forwards)) for batch in batch_numbers)
        )

    @contextmanager
    def trainable(self) -> Iterator[None]:
        """Context in which weights may be replaced and have gradients; everything is restored on exit."""
        saved = [(weight, weight.data, weight.requires_grad) for weight in self.module.parameters()]
        with torch.inference_mode(False), torch.no_grad():
            try:
                for batch in self._own_forwards:
                    self._dense_outputs[batch] = self._block_output(batch).to(self._output_device)
                for weight, _, _ in saved:
                    weight.requires_grad_(False)
                yield
            finally:
                self._dense_outputs.clear()
                for weight, data, required_grad in saved:
                    weight.data = data
                    weight.requires_grad_(required_grad)

    def lost(self, weights: Mapping[str, Tensor]) -> float:
        self._install_weights(weights)
        sums = {}
        for batch, dense in self._dense_outputs.items():
            token_errors, valid = self._token_errors(batch), self._own_forwards[batch].tokens.valid
            squared_norm = dense.to(token_errors.device, torch.float64)[valid].square().sum()
            sums[batch] = (float(token_errors.sum(dtype=torch.float64)), float(squared_norm))
        sums_by_batch = {batch: batch_sums for rank_sums in gathered(sums) for batch, batch_sums in rank_sums.items()}
        total_error, total_norm = (sum(sums_by_batch[batch][index] for batch in self.batches) for index in (0, 1))
        return total_error / total_norm if total_norm > 0 else 0.0

    def gradients(self, batch: int, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self._install_weights(weights)
        gradients = {name: torch.zeros_like(weights[name]) for name in self._weights}
        if batch in self._own_forwards:
            parameters, block_label = list(self._weights.values()), f"block {self.index} ({type(self.module).__name__})"
            with differentiable(block_label), torch.enable_grad():
                for weight in parameters:
                    weight.requires_grad_(True)
                token_errors = self._token_errors(batch)
                # The gradient of a mean over thousands of tokens vanishes in float16, so a larger multiple is computed.
                loss_scale = (token_errors.detach().sum().sqrt() / 4).clamp(min=torch.finfo(token_errors.dtype).tiny)
                scaled_gradients = torch.autograd.grad(token_errors.sum() / loss_scale, parameters, allow_unused=True)
            for weight in parameters:
                weight.requires_grad_(False)
            named_gradients, factor = zip(self._weights, scaled_gradients, strict=True), loss_scale / len(token_errors)
            gradients |= {
                name: gradient.to(weights[name]) * factor for name, gradient in named_gradients if gradient is not None
            }
        if distributed():
            for gradient in gradients.values():
                dist.all_reduce(gradient)
        return gradients

    def _token_errors(self, batch: int) -> Tensor:
        """Squared error of each valid token's output, summed over its channels: float32 (tokens,)."""
        # A copy, because autograd cannot save an index that was made in inference mode, a trainer's default.
        output, valid = self._block_output(batch), self._own_forwards[batch].tokens.valid.clone()
        return (output[valid].float() - self._dense_outputs[batch].to(output.device)[valid].float()).square().sum(-1)

    def _block_output(self, batch: int) -> Tensor:
        waiting = self._own_forwards[batch]
        assert waiting.forward.rerun is not None
        with waiting.awake():
            return waiting.forward.rerun()

    def _install_weights(self, weights: Mapping[str, Tensor]) -> None:
        for name, weight in self._weights.items():
            weight.data = weights[name].to(weight.dtype)
