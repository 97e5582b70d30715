"""What a calibration run did to one sample and its tokens, and how far two runs agree, as numbers."""

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
    """One sample at one block (n tokens); all tensors are on the CPU.

    ``visual`` marks visual tokens, and ``drift`` is each token's drift. ``at_once`` says which tokens entered at once
    (bool or float weights, one row per part of the rule); ``candidates`` are the undecided tokens, best first (k,).
    """

    visual: Tensor
    drift: Tensor
    at_once: Tensor
    candidates: Tensor

    def weights(self, rule: TokenSelection, statistics: SetStatistics, parts: Tensor) -> Tensor:
        """Returns each token's weight in the block's pool, once the whole set is known: float32 (n,).

        ``parts`` holds the weight of a token of each part.
        """
        weights = parts @ self.at_once.float()
        if len(self.candidates):
            decided = rule.decide(self.candidates, int((~self.visual).sum()), statistics)
            weights[self.candidates] += decided.float()
        return weights


class SampleTokens(BlockCallback):
    """Records which tokens a rule picks from one sample, block by block, as the pool sees it.

    Args:
        selection: the rule that the run prunes with.
        sample: index of the sample in the calibration set.
        linears: block -> Linear; for ``per_linear`` rules, the Linear whose tokens are recorded.
    """

    def __init__(self, selection: TokenSelection, sample: int, linears: Mapping[int, str]) -> None:
        self.selection, self.sample, self.linears = selection, sample, linears
        self._rules = selection.rules if isinstance(selection, PartedSelection) else [selection]
        self.blocks: dict[int, SampleBlock] = {}
        self.samples = 0
        self._calibration_set: WholeSet | None = None
        self._current_block: SampleBlock | None = None
        self._sample_count = 0

    def observe(self, sample: Sample) -> None:
        self._sample_count += 1
        tokens = sample.tokens
        self._calibration_set = tokens.calibration_set
        if tokens.sample != self.sample:
            return
        if self.selection.per_linear:
            if (linear := self.linears.get(tokens.block, "")) not in sample.outputs:
                return
            tokens = sample.at(linear)
        chosen_by_part = torch.stack([rule.select(tokens) for rule in self._rules])
        records = (tokens.visual, tokens.drift, chosen_by_part, self.selection.candidates(tokens))
        self._current_block = SampleBlock(*(values.detach().cpu().clone() for values in records))

    def finish(self, block: int) -> None:
        # Only one rank has the sample; afterwards all ranks have the same results.
        rank_results = gathered((self._current_block, self._sample_count))
        self.samples = sum(count for _, count in rank_results)
        self.blocks.update((block, sample_block) for sample_block, _ in rank_results if sample_block is not None)
        self._current_block, self._sample_count = None, 0

    def weights(self, report: BlockReport) -> Tensor:
        """Returns the weight of each of the sample's tokens in the pool of the reported block: (n,)."""
        tokens = report.tokens
        statistics = SetStatistics(
            report.mean_drift, self.samples, tokens["text"], tokens["visual"], self._calibration_set
        )
        token_weights = torch.ones(1)
        if isinstance(self.selection, PartedSelection):
            assert self._calibration_set is not None
            counts = (int(getattr(self._calibration_set, part).sum()) for part in self.selection.parts)
            shares = report.pool_weights[BOTH].values()
            token_weights = torch.tensor([share / count for share, count in zip(shares, counts, strict=True)])
        return self.blocks[report.block].weights(self.selection, statistics, token_weights)


class ChannelNorms(BlockCallback):
    """Root mean square of each input channel of one Linear per block, over all samples' text and visual tokens.

    ``rms`` maps a block to float64 (2, in), text first; ``tokens`` maps it to the two counts. A modality without tokens
    is NaN.
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
    """One sample in a calibration run, described by its visual tokens.

    ``weights`` and ``drift`` are float32 (blocks, visual tokens); a weight of 0 means that the token stayed outside the
    block's pool. ``positions`` are those of the visual tokens in the sample's sequence, int64 (visual tokens,), and
    ``text`` is the number of its other tokens. ``norms`` has the columns block, channel, text and visual: root mean
    squares over all ``samples``; ``counts`` says over how many tokens.
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
    """Returns block -> the one Linear there that a shell-style pattern matches; blocks without one are left out.

    Raises:
        ValueError: if the pattern matches no Linear, or several in one block.
    """
    by_block: dict[int, str] = {}
    matches = {name for name, target in _matching_targets(lvlm, pattern).items() if isinstance(target, nn.Linear)}
    for name in (name for name in lvlm.linears if name in matches):
        if (block := lvlm.block_of(name)) in by_block:
            raise ValueError(f"linear: {pattern!r} matches {by_block[block]} and {name}; choose one per block")
        by_block[block] = name
    if not by_block:
        raise ValueError(f"linear: {pattern!r} matches experts, whose inputs are not gathered by channel; name Linears")
    return by_block


def _matching_targets(lvlm: LVLM, pattern: str) -> dict[str, Any]:
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
    """Prunes a copy of the model and observes one sample on the way; ``options`` are passed on to ``atv.prune``.

    Args:
        model: remains unchanged.
        batches: the calibration set.
        sample: index of the sample in it.
        selection: the selection rule.
        linears: block -> Linear, see ``linear_of_blocks``: the Linear whose input norms are gathered and, for a
            ``per_linear`` rule, whose tokens are shown.
        trainer: runs the loop.
    """
    tokens, norms = SampleTokens(selection, sample, linears), ChannelNorms(linears)
    with running(trainer, tokens, norms):
        report = prune(copy.deepcopy(model), batches, selection=selection, trainer=trainer, **options)
    blocks = sorted(tokens.blocks)
    visual = tokens.blocks[blocks[0]].visual
    return Inspection(
        blocks,
        visual.nonzero().flatten(),
        int((~visual).sum()),
        torch.stack([tokens.weights(report.blocks[block])[visual] for block in blocks]),
        torch.stack([tokens.blocks[block].drift[visual] for block in blocks]),
        pd.concat([_channel_table(block, rms) for block, rms in norms.rms.items()], ignore_index=True),
        tokens.samples,
        "{} text and {} visual".format(*next(iter(norms.tokens.values()))),
        report,
    )


def _channel_table(block: int, rms: Tensor) -> pd.DataFrame:
    text, visual = rms.numpy()
    return pd.DataFrame({"block": block, "channel": range(len(text)), "text": text, "visual": visual})


def modality_overlap(
    model: PreTrainedModel, batches: Batches, trainer: L.Trainer, **options: Any
) -> tuple[dict[str, float], float]:
    """IoU by Linear of the masks of ``VisualOnly`` and ``TextOnly`` calibration, and the share of weights they keep.

    Each of the two prunes a copy of the model; ``options`` are passed on to ``atv.prune``.
    """
    masks = [
        prune(copy.deepcopy(model), batches, selection=rule, trainer=trainer, **options).masks
        for rule in ("VisualOnly", "TextOnly")
    ]
    return overlap(*masks), 1 - masks[0].sparsity
