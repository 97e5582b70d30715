"""What a calibration did to one sample, and how far two calibrations agree, as numbers."""

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
from atv.inspection.sample_tokens import ChannelNorms, SampleTokens
from atv.model.lvlm import LVLM
from atv.records.masks import overlap
from atv.records.pruning_report import PruningReport
from atv.runtime.trainer import running
from atv.selection import TokenSelection

Batches = Sequence[Mapping[str, Any]]


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
