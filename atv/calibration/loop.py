"""Calibration as a prediction loop: one dataloader per decoder block, one step per batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from torch.utils.data import DataLoader

from atv.calibration.attention_and_outputs import ForwardObserver
from atv.calibration.block_gradients import BackwardPass, BlockGradients
from atv.calibration.calibration_set import BatchTokens, CalibrationBatch
from atv.calibration.samples import Sample, samples
from atv.calibration.suspension import Arrival, SuspendedForward, doors
from atv.calibration.waiting import WaitingForward, addresses, held_bytes
from atv.model.batch import cast_floats
from atv.model.lvlm import LVLM
from atv.model.offloaded_blocks import OffloadedBlocks
from atv.model.targets import Target
from atv.runtime.ranks import failing_together, padded
from atv.selection import TokenSelection, WholeSet


class BlockwiseCalibration(L.LightningModule):
    """Wraps an LVLM; each step takes one waiting forward to its next block and observes it there.

    Callbacks receive the step's samples and prune a block once all its batches were seen. The dataloader's index
    counts from ``first_block``; all blocks before it are finished and have no doors. ``waiting`` holds this rank's
    forwards by batch number. Samples carry what the ``rules`` need, and ``gradients`` if requested.
    """

    def __init__(
        self,
        lvlm: LVLM,
        seed: int,
        rules: Sequence[TokenSelection],
        first_block: int = 0,
        offloaded: OffloadedBlocks | None = None,
        calibration_set: WholeSet | None = None,
        gradients: bool = False,
    ) -> None:
        super().__init__()
        self.lvlm, self.seed, self.first_block = lvlm, seed, first_block
        self.offloaded, self.calibration_set = offloaded, calibration_set
        self.observer = ForwardObserver(lvlm, rules)
        self.backward_pass = BackwardPass(gradients, any(rule.needs_sensitivity for rule in rules))
        if offloaded is None:
            # Lightning moves registered modules to its device; an offloaded model moves itself.
            self.model = lvlm.model
        self.held_bytes, self.held_tokens = 0, 0
        self._model_addresses: set[int] = set()
        self.waiting: dict[int, WaitingForward] = {}

    def run(
        self, trainer: L.Trainer, batches: Sequence[CalibrationBatch], targets: Mapping[str, Target], propagate: bool
    ) -> None:
        """Runs the loop over all unfinished blocks; removes all doors from the model, whatever happens."""
        blocks_left = len(self.lvlm.blocks) - self.first_block
        if not blocks_left:
            return
        try:
            with failing_together(trainer), doors(self.lvlm, targets, propagate, self.first_block, self.observer):
                dataloaders = loaders(padded(batches, trainer), blocks_left)
                trainer.predict(self, dataloaders, return_predictions=False)
        finally:
            for waiting in self.waiting.values():
                waiting.close()
            self.waiting.clear()

    def on_predict_start(self) -> None:
        # Only once, and not earlier: by now Lightning has moved the model to its device.
        self._model_addresses = addresses(self.lvlm.model)

    def predict_step(self, batch: CalibrationBatch | None, batch_idx: int, dataloader_idx: int = 0) -> list[Sample]:
        block = self.first_block + dataloader_idx
        if batch_idx == 0 and self.offloaded is not None:
            self.offloaded.bring(block)
        if batch is None:
            return []
        waiting = self.waiting.get(batch.number) or self._start_forward(batch)
        waiting.unpark()
        arrival = waiting.forward.advance(block)
        if arrival is None:
            return []
        observed = list(
            samples(
                arrival, waiting.tokens, self.seed, self._block_gradients(arrival, waiting.tokens), self.calibration_set
            )
        )
        if batch.inputs is not None:
            self.held_bytes += held_bytes(waiting.forward, self._model_addresses)
            self.held_tokens += int(waiting.tokens.valid.sum())
        waiting.hidden = arrival.waiting
        return observed

    def on_predict_batch_end(
        self, outputs: Any, batch: CalibrationBatch | None, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        # After the callbacks, because their samples are views of the hidden state.
        if batch is not None and self.offloaded is not None:
            self.waiting[batch.number].park(self.offloaded.waiting_file(batch.number))

    def _start_forward(self, batch: CalibrationBatch) -> WaitingForward:
        assert batch.inputs is not None
        inputs = cast_floats(batch.inputs, self.lvlm.model.dtype)
        visual, valid = self.lvlm.visual(inputs), self.lvlm.valid(inputs)
        tokens = BatchTokens(inputs["input_ids"], visual, valid, batch.first_sample, batch.answer)
        waiting = self.waiting[batch.number] = WaitingForward(SuspendedForward(self.lvlm.model, inputs), tokens)
        return waiting

    def _block_gradients(self, arrival: Arrival, tokens: BatchTokens) -> BlockGradients:
        """Runs the backward passes that the run needs for a batch at a block."""
        all_linears = self.lvlm.linears
        linears = {name: all_linears[name] for name in arrival.target_inputs.site_of if name in all_linears}
        seed = (self.seed, arrival.block, tokens.first_sample)
        return self.backward_pass.run(arrival, self.lvlm.blocks[arrival.block], linears, tokens.valid, seed)


def loaders(batches: Sequence[CalibrationBatch | None], blocks: int) -> list[DataLoader]:
    """Returns one dataloader per block; only the first provides inputs, later ones resume the waiting forwards.

    A batch is never split or regrouped, whatever the number of ranks; None is a step without a batch.
    """
    resumed = [batch and batch._replace(inputs=None, answer=None) for batch in batches]
    steps_by_block: list[Any] = [resumed if block else batches for block in range(blocks)]
    return [DataLoader(steps, batch_size=None, collate_fn=lambda batch: batch) for steps in steps_by_block]
