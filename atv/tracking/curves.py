"""What a finished cell's report and masks say of each decoder block."""

import re

import numpy as np

from atv.ablation.store import FinishedCell
from atv.records.masks import PackedMasks
from atv.records.pruning_report import BlockReport
from atv.tracking import keys


def block_curves(done: FinishedCell) -> list[dict[str, float]]:
    """The curves of a run, one row a block; none for the dense model."""
    if done.report is None:
        return []
    masks = {pathway: done.masks(pathway) for pathway in done.report.plans}
    return [_row(block, done.record.samples) | _sparsities(block, masks) for block in done.report.blocks]


def _row(block: BlockReport, samples: int) -> dict[str, float]:
    row: dict[str, float] = {keys.BLOCK: block.block, keys.DRIFT: block.mean_drift, keys.SECONDS: block.seconds}
    # W&B takes a dot in a key for a level of nesting.
    for modality, sites in block.norms.items():
        row |= {keys.norm(modality, _split(site)[1].replace(".", "/")): value for site, value in sites.items()}
    for pathway, counts in block.selected.items():
        row |= {keys.selected(pathway, modality): count / samples for modality, count in counts.items()}
    return row


def _sparsities(block: BlockReport, masks: dict[str, PackedMasks]) -> dict[str, float]:
    seen_blocks = {_split(site)[0] for sites in block.norms.values() for site in sites}
    shares = {}
    for pathway, packed in masks.items():
        names = [name for name in packed if _split(name)[0] in seen_blocks]
        shares[keys.block_sparsity(pathway)] = _pruned_share(packed, names)
    return shares


def _pruned_share(masks: PackedMasks, names: list[str]) -> float:
    """Counted on the packed bits, whose padding is 0."""
    packed, shapes = masks.packed, masks.shapes
    kept = sum(int(np.bitwise_count(packed[name].numpy()).sum()) for name in names)
    total = sum(int(np.prod(shapes[name])) for name in names)
    return 1 - kept / total if total else 0.0


def _split(name: str) -> tuple[str, str]:
    """The block's name, which ends with its number in a list of modules, and the name inside it.

    >>> _split("model.language_model.layers.3.self_attn.q_proj")
    ('model.language_model.layers.3', 'self_attn.q_proj')
    """
    matched = re.fullmatch(r"(.*?\d+)\.(\D.*)", name)
    return (matched[1], matched[2]) if matched else ("", name)
