"""The calibration set: its numbered batches, and all their tokens, for selection rules that need them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from atv.data.labels import IGNORED
from atv.model.lvlm import LVLM
from atv.model.positions import require_own_positions
from atv.selection import PartedSelection, TokenSelection, WholeSet


class CalibrationBatch(NamedTuple):
    """A batch with its number, the index of its first sample in the whole set and, for block 0, its inputs.

    ``answer`` (batch, length) says which tokens are answers, if the batch has labels.
    """

    number: int
    first_sample: int
    inputs: dict[str, Any] | None
    answer: Tensor | None = None

    @property
    def content(self) -> dict[str, Any]:
        """Everything that the batch contained, for the digest that identifies the run."""
        return {**(self.inputs or {}), **({} if self.answer is None else {"answer": self.answer})}


@dataclass(frozen=True)
class BatchTokens:
    """The tokens of a batch, all (batch, length), on the device of its inputs.

    ``ids`` are vocabulary ids. ``visual``, ``valid`` (not padding) and ``answer`` are bool; ``answer`` is None if the
    batch has no labels. ``first_sample`` is the index of the batch's first sample in the whole set.
    """

    ids: Tensor
    visual: Tensor
    valid: Tensor
    first_sample: int
    answer: Tensor | None = None


def numbered_batches(lvlm: LVLM, batches: Iterable[Mapping[str, Any]]) -> list[CalibrationBatch]:
    """Reads the batches once and numbers their samples.

    Raises:
        ValueError: if there is no batch; if a single batch is given instead of several; if a batch is not what a
            processor returns (a dict of tensors, with input_ids (batch, length) that are not all padding); or if the
            model would read a batch of several samples differently from each sample alone.
    """
    if isinstance(batches, Mapping):
        class_name = type(batches).__name__
        raise ValueError(f"batches: expected several batches, got a single one ({class_name}); put it into a list")
    numbered: list[CalibrationBatch] = []
    first_sample = 0
    for index, inputs in enumerate(batches):
        _check_batch(index, inputs)
        require_own_positions(lvlm.model, inputs)
        model_inputs = dict(inputs)
        # With labels, the model would compute a loss that nobody reads.
        labels = model_inputs.pop("labels", None)
        answer = None if labels is None else labels != IGNORED
        numbered.append(CalibrationBatch(index, first_sample, model_inputs, answer))
        first_sample += len(inputs["input_ids"])
    if not numbered:
        raise ValueError("batches: there is no calibration batch")
    return numbered


def _check_batch(index: int, inputs: Any) -> None:
    if not isinstance(inputs, Mapping):
        class_name = type(inputs).__name__
        raise ValueError(f"batches: batch {index} is a {class_name}; expected the dict that a processor returns")
    if inputs.get("input_ids") is None:
        raise ValueError(f"batches: batch {index} has no input_ids; its keys are {', '.join(map(str, inputs))}")
    for key in ("input_ids", "attention_mask", "labels"):
        value = inputs.get(key)
        if value is not None and not isinstance(value, Tensor):
            raise ValueError(
                f"batches: {key} of batch {index} is of type {type(value).__name__}, not a tensor; call the processor "
                'with return_tensors="pt"'
            )
    if (ids := inputs["input_ids"]).dim() != 2:
        raise ValueError(f"batches: input_ids of batch {index} are {tuple(ids.shape)}; expected (batch, length)")
    mask = inputs.get("attention_mask")
    if mask is not None and not mask.any():
        raise ValueError(f"batches: batch {index} is all padding according to its attention_mask; leave it out")


def whole_set(lvlm: LVLM, batches: Sequence[CalibrationBatch], rules: Iterable[TokenSelection]) -> WholeSet | None:
    """Returns the tokens of all batches, or None if no rule needs them.

    Every rank reads all batches, so nothing is communicated.

    Raises:
        ValueError: if a rule needs to know which tokens are answers and a batch has no labels; if a part of a rule has
            no tokens; or if there are too few samples to hold some out.
    """
    rules = list(rules)
    for rule in rules:
        if rule.needs_answers:
            _require_labels(rule, batches)
    if not any(rule.needs_whole for rule in rules):
        return None
    columns: list[list[Tensor]] = [[], [], [], []]
    for batch in batches:
        assert batch.inputs is not None
        ids, valid = batch.inputs["input_ids"], lvlm.valid(batch.inputs)
        answer = torch.zeros_like(valid) if batch.answer is None else batch.answer
        sample_index = batch.first_sample + torch.arange(len(ids), device=ids.device)[:, None].expand_as(ids)
        # Row by row, in the order of the samples.
        for column, values in zip(columns, (ids, lvlm.visual(batch.inputs), answer, sample_index), strict=True):
            column.append(values[valid.to(values.device)].cpu())
    whole = WholeSet(*(torch.cat(column) for column in columns))
    for rule in rules:
        if isinstance(rule, PartedSelection):
            _require_parts(rule, whole)
    return whole


def _require_parts(rule: PartedSelection, whole: WholeSet) -> None:
    class_name = type(rule).__name__
    for part in rule.parts:
        if not getattr(whole, part).any():
            raise ValueError(f"selection: {class_name} weighs {part} tokens, but the calibration set has none")
    if rule.holds_out and (count := int((whole.by_sample[1] > 0).sum())) < 2:
        raise ValueError(
            f"selection: {class_name} holds out samples with pictures, but the calibration set has only {count}"
        )


def _require_labels(rule: TokenSelection, batches: Sequence[CalibrationBatch]) -> None:
    for batch in batches:
        if batch.answer is None:
            raise ValueError(
                f"selection: {type(rule).__name__} weighs answers, but batch {batch.number} has no labels to say which "
                "tokens are answers (their ids, and -100 elsewhere); calibration_batches(answers=True) adds labels"
            )
