"""What a calibration did to one sample and its tokens, and how far two calibrations agree, as numbers."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import pandas as pd
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from atv.api import prune
from atv.calibration.callbacks import BlockCallback
from atv.calibration.samples import LinearInputs, Sample
from atv.calibration.sums import SampleSums
from atv.model.lvlm import LVLM
from atv.records.masks import overlap
from atv.records.pruning_report import BOTH, BlockReport, PruningReport
from atv.runtime.ranks import gathered
from atv.runtime.trainer import running
from atv.selection import PartedSelection, SetStatistics, TokenSelection, WholeSet

Batches = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class SampleBlock:
    """One sample at one block (n tokens): which tokens are visual, how far the block turns each, what entered at once
    (bool or float weights, a row a part of the rule), and the undecided tokens, best first (k,). All on the CPU."""

    visual: Tensor
    drift: Tensor
    at_once: Tensor
    candidates: Tensor

    def weights(self, rule: TokenSelection, statistics: SetStatistics, parts: Tensor) -> Tensor:
        """How much each token counts in the block's pool, once the whole set is known: float32 (n,).

        ``parts`` is what a token of each part weighs.
        """
        weights = parts @ self.at_once.float()
        if len(self.candidates):
            decided = rule.decide(self.candidates, int((~self.visual).sum()), statistics)
            weights[self.candidates] += decided.float()
        return weights


class SampleTokens(BlockCallback):
    """What a rule picks of one sample, block by block, as the pool sees it.

    Args:
        selection: the rule that the run prunes with.
        sample: its index in the calibration set.
        linears: block -> Linear, for rules that are ``per_linear``: the Linear whose tokens are noted.
    """

    def __init__(self, selection: TokenSelection, sample: int, linears: Mapping[int, str]) -> None:
        self.selection, self.sample, self.linears = selection, sample, linears
        self._rules = selection.rules if isinstance(selection, PartedSelection) else [selection]
        self.seen: dict[int, SampleBlock] = {}
        self.samples = 0
        self._whole: WholeSet | None = None
        self._here: SampleBlock | None = None
        self._count = 0

    def observe(self, sample: Sample) -> None:
        self._count += 1
        tokens = sample.tokens
        self._whole = tokens.calibration_set
        if tokens.sample != self.sample:
            return
        if self.selection.per_linear:
            if (name := self.linears.get(tokens.block, "")) not in sample.outputs:
                return
            tokens = sample.at(name)
        parts = torch.stack([rule.select(tokens) for rule in self._rules])
        noted = (tokens.visual, tokens.drift, parts, self.selection.candidates(tokens))
        self._here = SampleBlock(*(values.detach().cpu().clone() for values in noted))

    def finish(self, block: int) -> None:
        # One rank has the sample, all have the same answer.
        ranks = gathered((self._here, self._count))
        self.samples = sum(count for _, count in ranks)
        self.seen.update((block, seen) for seen, _ in ranks if seen is not None)
        self._here, self._count = None, 0

    def weights(self, report: BlockReport) -> Tensor:
        """How much each of the sample's tokens counts in the pool of the block that a run reports on: (n,)."""
        tokens = report.tokens
        statistics = SetStatistics(report.mean_drift, self.samples, tokens["text"], tokens["visual"], self._whole)
        parts = torch.ones(1)
        if isinstance(self.selection, PartedSelection):
            assert self._whole is not None
            counts = (int(getattr(self._whole, part).sum()) for part in self.selection.parts)
            shares = report.pool_weights[BOTH].values()
            parts = torch.tensor([share / count for share, count in zip(shares, counts, strict=True)])
        return self.seen[report.block].weights(self.selection, statistics, parts)


class ChannelNorms(BlockCallback):
    """Root mean square of each channel that one Linear a block reads, over the text and the visual tokens of all
    samples.

    ``rms`` maps a block to float64 (2, in), text first; ``tokens`` to the two counts. A modality without tokens is NaN.
    """

    def __init__(self, linears: Mapping[int, str]) -> None:
        self.linears = linears
        self.rms: dict[int, Tensor] = {}
        self.tokens: dict[int, tuple[int, int]] = {}
        self._sums = SampleSums()

    def observe(self, sample: Sample) -> None:
        site = sample.site_of.get(self.linears.get(sample.tokens.block, ""))
        inputs = sample.inputs.get(site) if site else None
        if not isinstance(inputs, LinearInputs):
            return
        modalities = torch.stack([sample.tokens.text, sample.tokens.visual])
        self._sums.add("squares", sample.tokens.sample, inputs.square_sums(modalities))
        self._sums.add("tokens", sample.tokens.sample, modalities.sum(1).float())

    def finish(self, block: int) -> None:
        totals, self._sums = self._sums.totals(), SampleSums()
        if totals:
            self.rms[block] = (totals["squares"] / totals["tokens"][:, None]).sqrt()
            text, visual = totals["tokens"].int().tolist()
            self.tokens[block] = text, visual


@dataclass(frozen=True)
class Inspection:
    """One sample in a calibration run, over its visual tokens: ``weights`` and ``drift`` are float32 (blocks, visual
    tokens), ``positions`` int64 (visual tokens,) in the sample's sequence, ``text`` its other tokens.

    A weight of 0 is a token that stayed outside the block's pool. ``norms`` has the columns block, channel, text and
    visual: root mean squares over all ``samples``; ``counts`` says over how many tokens.
    """

    blocks: list[int]
    positions: Tensor
    text: int
    weights: Tensor
    drift: Tensor
    norms: pd.DataFrame
    samples: int
    counts: str
    report: PruningReport


def linear_of_blocks(lvlm: LVLM, pattern: str) -> dict[int, str]:
    """Block -> the one Linear that a shell-style pattern names there; blocks without one are left out.

    Raises:
        ValueError: for a pattern that matches no Linear, or several of one block.
    """
    by_block: dict[int, str] = {}
    matches = {name for name, target in _matching(lvlm, pattern).items() if isinstance(target, nn.Linear)}
    for name in (name for name in lvlm.linears if name in matches):
        if (block := lvlm.block_of(name)) in by_block:
            raise ValueError(f"linear: {pattern!r} names {by_block[block]} and {name}; choose one a block")
        by_block[block] = name
    if not by_block:
        raise ValueError(f"linear: {pattern!r} names experts, whose inputs are not gathered by channel; name a Linear")
    return by_block


def _matching(lvlm: LVLM, pattern: str) -> dict[str, Any]:
    try:
        return lvlm.targets([pattern])
    except ValueError as error:
        raise ValueError(str(error).replace("targets:", "linear:", 1)) from error


def inspect_sample(
    model: PreTrainedModel,
    batches: Batches,
    sample: int,
    selection: TokenSelection,
    linears: Mapping[int, str],
    trainer: L.Trainer,
    **options: Any,
) -> Inspection:
    """Prunes a copy of the model and watches one sample on the way; ``options`` are further ones of ``atv.prune``.

    Args:
        model: stays as it is.
        batches: the calibration set.
        sample: index in it.
        selection: the rule.
        linears: block -> Linear, see ``linear_of_blocks``: whose input's norms are gathered, and whose tokens are
            shown of a rule that picks them for every Linear by itself.
        trainer: runs the loop.
    """
    tokens, norms = SampleTokens(selection, sample, linears), ChannelNorms(linears)
    with running(trainer, tokens, norms):
        report = prune(copy.deepcopy(model), batches, selection=selection, trainer=trainer, **options)
    blocks = sorted(tokens.seen)
    visual = tokens.seen[blocks[0]].visual
    return Inspection(
        blocks,
        visual.nonzero().flatten(),
        int((~visual).sum()),
        torch.stack([tokens.weights(report.blocks[block])[visual] for block in blocks]),
        torch.stack([tokens.seen[block].drift[visual] for block in blocks]),
        pd.concat([_channels(block, rms) for block, rms in norms.rms.items()], ignore_index=True),
        tokens.samples,
        "{} text and {} visual".format(*next(iter(norms.tokens.values()))),
        report,
    )


def _channels(block: int, rms: Tensor) -> pd.DataFrame:
    text, visual = rms.numpy()
    return pd.DataFrame({"block": block, "channel": range(len(text)), "text": text, "visual": visual})


def modality_overlap(
    model: PreTrainedModel, batches: Batches, trainer: L.Trainer, **options: Any
) -> tuple[dict[str, float], float]:
    """IoU by Linear of the masks of ``VisualOnly`` and ``TextOnly`` calibration, and the share of weights they keep.

    Each prunes a copy of the model; ``options`` are further ones of ``atv.prune``.
    """
    masks = [
        prune(copy.deepcopy(model), batches, selection=rule, trainer=trainer, **options).masks
        for rule in ("VisualOnly", "TextOnly")
    ]
    return overlap(*masks), 1 - masks[0].sparsity
