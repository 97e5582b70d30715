"""All tokens of the calibration set, for rules that weigh a token by how many others there are."""

from collections.abc import Iterable, Sequence

import torch

from atv.calibration.loop import CalibrationBatch
from atv.model.lvlm import LVLM
from atv.selection import PartedSelection, TokenSelection, WholeSet


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
