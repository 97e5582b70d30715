"""Calibration as a prediction loop: one dataloader a decoder block, one step a batch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from atv.calibration.attention_and_outputs import Recorder
from atv.calibration.block_gradients import BackwardPass
from atv.calibration.samples import Sample, samples
from atv.calibration.suspension import SuspendedForward, doors
from atv.calibration.waiting import WaitingForward, addresses, held_bytes
from atv.data.labels import IGNORED
from atv.model.batch import on_device
from atv.model.lvlm import LVLM
from atv.model.offload import OffloadedBlocks
from atv.model.targets import Target
from atv.runtime.ranks import padded, together
from atv.selection import PartedSelection, TokenSelection, WholeSet


class CalibrationBatch(NamedTuple):
    """A batch with its number, the index of its first sample in the whole set, and, for block 0, its inputs.

    ``answer`` (batch, length) says which tokens are answers, where the batch brought labels.
    """

    number: int
    first_sample: int
    inputs: dict[str, Any] | None
    answer: Tensor | None = None

    @property
    def content(self) -> dict[str, Any]:
        """All that the batch brought, by which a run is known again."""
        return {**(self.inputs or {}), **({} if self.answer is None else {"answer": self.answer})}


def numbered_batches(batches: Iterator[Mapping[str, Any]]) -> list[CalibrationBatch]:
    """Reads the batches once and numbers their samples.

    Raises:
        ValueError: when there is no batch, or one without input_ids.
    """
    numbered: list[CalibrationBatch] = []
    first_sample = 0
    for index, inputs in enumerate(batches):
        if "input_ids" not in inputs:
            raise ValueError(f"batches: batch {index} has no input_ids; its keys are {', '.join(inputs)}")
        given = dict(inputs)
        # With labels a model would compute a loss that nobody reads.
        labels = given.pop("labels", None)
        answer = None if labels is None else labels != IGNORED
        numbered.append(CalibrationBatch(index, first_sample, given, answer))
        first_sample += len(inputs["input_ids"])
    if not numbered:
        raise ValueError("batches: there is no calibration batch")
    return numbered


def loaders(batches: Sequence[CalibrationBatch | None], blocks: int) -> list[DataLoader]:
    """One dataloader a block; only the first hands out inputs, later ones resume what waits.

    A batch is never split or regrouped, whatever the number of ranks; None is a step without one.
    """
    resumed = [batch and batch._replace(inputs=None, answer=None) for batch in batches]
    lists: list[Any] = [resumed if block else batches for block in range(blocks)]
    return [DataLoader(given, batch_size=None, collate_fn=lambda batch: batch) for given in lists]


class BlockwiseCalibration(L.LightningModule):
    """Wraps an LVLM; each step takes one waiting forward to its next block and observes it there.

    Callbacks receive the step's samples and prune a block once all its batches were seen; the dataloader's index
    counts from ``first_block``, before which all blocks are finished and have no doors. ``waiting`` has this rank's
    forwards by the numbers of their batches.
    """

    def __init__(
        self,
        lvlm: LVLM,
        seed: int,
        first_block: int = 0,
        offloaded: OffloadedBlocks | None = None,
        recorder: Recorder | None = None,
        whole: WholeSet | None = None,
        backward: BackwardPass | None = None,
    ) -> None:
        super().__init__()
        self.lvlm, self.seed, self.first_block = lvlm, seed, first_block
        self.offloaded, self.recorder, self.whole = offloaded, recorder, whole
        self.backward_pass = backward or BackwardPass()
        if offloaded is None:
            # Lightning moves what it knows of to its device; an offloaded model moves itself.
            self.model = lvlm.model
        self.held_bytes, self.held_tokens = 0, 0
        self._own: set[int] = set()
        self.waiting: dict[int, WaitingForward] = {}

    def on_predict_start(self) -> None:
        # Once, and only now: Lightning has moved the model to its device.
        self._own = addresses(self.lvlm.model)

    def predict_step(self, batch: CalibrationBatch | None, batch_idx: int, dataloader_idx: int = 0) -> list[Sample]:
        block = self.first_block + dataloader_idx
        if batch_idx == 0 and self.offloaded is not None:
            self.offloaded.bring(block)
        if batch is None:
            return []
        waiting = self.waiting.get(batch.number) or self._start(batch)
        waiting.unpark()
        arrival = waiting.forward.advance(block)
        if arrival is None:
            return []
        masks, first = (waiting.visual, waiting.valid), batch.first_sample
        linears = {name: self.lvlm.linears[name] for name in arrival.recording.site_of if name in self.lvlm.linears}
        self.backward_pass(arrival, self.lvlm.blocks[block], linears, waiting.valid, (self.seed, block, first))
        seen = list(samples(arrival, *masks, first, self.seed, waiting.ids, waiting.answer, self.whole))
        if batch.inputs is not None:
            self.held_bytes += held_bytes(waiting.forward, self._own)
            self.held_tokens += int(waiting.valid.sum())
        waiting.hidden = arrival.waiting
        return seen

    def on_predict_batch_end(
        self, outputs: Any, batch: CalibrationBatch | None, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        # After the callbacks, whose samples are views of the hidden state.
        if batch is not None and self.offloaded is not None:
            self.waiting[batch.number].park(self.offloaded.waiting_file(batch.number))

    def _start(self, batch: CalibrationBatch) -> WaitingForward:
        assert batch.inputs is not None
        inputs = on_device(batch.inputs, None, self.lvlm.model.dtype)
        forward = SuspendedForward(self.lvlm.model, inputs)
        self.waiting[batch.number] = WaitingForward(
            forward, self.lvlm.visual(inputs), self.lvlm.valid(inputs), inputs["input_ids"], batch.answer
        )
        return self.waiting[batch.number]

    def run(
        self, trainer: L.Trainer, batches: Sequence[CalibrationBatch], targets: Mapping[str, Target], propagate: bool
    ) -> None:
        """Runs the loop over all blocks that are not finished; the model is left without doors, whatever happens."""
        left = len(self.lvlm.blocks) - self.first_block
        if not left:
            return
        try:
            with together(trainer), doors(self.lvlm, targets, propagate, self.first_block, self.recorder):
                given = loaders(padded(batches, trainer), left)
                trainer.predict(self, given, return_predictions=False)
        finally:
            for waiting in self.waiting.values():
                waiting.close()
            self.waiting.clear()


def whole_set(lvlm: LVLM, batches: Sequence[CalibrationBatch], rules: Iterable[TokenSelection]) -> WholeSet | None:
    """The tokens of the batches, if a rule asks for them. Every rank reads all batches, so nothing is communicated.

    Raises:
        ValueError: where a rule asks which tokens are answers, and a batch has no labels; where a rule of several parts
            has one without tokens, or too few samples to hold some out.
    """
    rules = list(rules)
    for rule in rules:
        if rule.needs_answers:
            _require_labels(rule, batches)
    if not any(rule.needs_whole for rule in rules):
        return None
    parts: list[list[torch.Tensor]] = [[], [], [], []]
    for batch in batches:
        assert batch.inputs is not None
        ids, valid = batch.inputs["input_ids"], lvlm.valid(batch.inputs)
        answer = torch.zeros_like(valid) if batch.answer is None else batch.answer
        sample = batch.first_sample + torch.arange(len(ids), device=ids.device)[:, None].expand_as(ids)
        # Row by row, as samples come.
        for part, values in zip(parts, (ids, lvlm.visual(batch.inputs), answer, sample), strict=True):
            part.append(values[valid.to(values.device)].cpu())
    whole = WholeSet(*(torch.cat(part) for part in parts))
    for rule in rules:
        if isinstance(rule, PartedSelection):
            _require_parts(rule, whole)
    return whole


def _require_parts(rule: PartedSelection, whole: WholeSet) -> None:
    kind = type(rule).__name__
    for part in rule.parts:
        if not getattr(whole, part).any():
            raise ValueError(f"selection: {kind} weighs {part} tokens, and the calibration set has none")
    if rule.holds_out and (count := int((whole.by_sample[1] > 0).sum())) < 2:
        raise ValueError(f"selection: {kind} holds samples with pictures out, and the calibration set has {count}")


def _require_labels(rule: TokenSelection, batches: Sequence[CalibrationBatch]) -> None:
    for batch in batches:
        if batch.answer is None:
            raise ValueError(
                f"selection: {type(rule).__name__} weighs answers, and batch {batch.number} has no labels to say which "
                "tokens are answers (the ids of answers, -100 elsewhere); calibration_batches(answers=True) makes them"
            )
