"""Time to prune whole models with Wanda's pool and ATV-Pruning, against the floor and llm-compressor."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

import atv
from atv.runtime.timing import Row, compare, interleaved, now
from atv.runtime.trainer import quiet_trainer
from experiments.cost.floor import floor
from experiments.cost.peer import LlmCompressor
from experiments.cost.workload import Batch, Shape, random_batches, random_llava

FLOOR, WANDA, ATV, PEER = "floor", "Wanda", "ATV", "llm-compressor's Wanda"


class TimedPruning:
    """Prunes a fresh copy of a model at 50%, unstructured, on each ``run``.

    Attributes:
        masks, weights: results of the last run by Linear; weights only of block 0.
    """

    def __init__(self, model: PreTrainedModel, batches: Sequence[Batch], selection: str, **rules: Any) -> None:
        self.model, self.batches, self.rules = model, batches, {"selection": selection, **rules}
        self.masks: Mapping[str, Tensor] = {}
        self.weights: Mapping[str, Tensor] = {}

    def run(self) -> float:
        """Prunes a fresh copy of the model, and returns the seconds that it took."""
        return self.prune(deepcopy(self.model))

    def prune(self, model: PreTrainedModel) -> float:
        """Prunes ``model`` in place, and returns the seconds that it took."""
        trainer = quiet_trainer(enable_progress_bar=False)
        started = now()
        self.masks = atv.prune(model, self.batches, **self.rules, trainer=trainer).masks
        seconds = now() - started
        self.weights = {
            name: model.get_parameter(f"{name}.weight").detach().clone() for name in first_block(self.masks)
        }
        return seconds


def rows(shape: Shape, repeats: int, threads: int, peer: Path) -> tuple[list[Row], list[str]]:
    """The table's rows and remarks; without ``peer``, the Python of its environment, llm-compressor is left out."""
    model, batches = random_llava(shape), random_batches(shape)
    floor(model, batches[:2])
    wanda, atv_pruning = TimedPruning(model, batches, "AllTokens"), TimedPruning(model, batches, "DriftTopK")
    runs = {FLOOR: lambda: floor(model, batches), WANDA: wanda.run, ATV: atv_pruning.run}
    masks_note = (
        "masks are compared in block 0, where both sides read the same inputs; in a random model, differences from "
        "rounding double from block to block"
    )
    floor_note = (
        f"the {FLOOR} has a second run of the last block and ours does not: 1 of {2 * shape.blocks} block passes"
    )
    if not peer.is_file():
        peer_note = f"{PEER}: skipped, there is no {peer}; `make bench-setup` creates it"
        return _atv_rows(interleaved(runs, repeats)), [floor_note, peer_note]
    with LlmCompressor(peer, model, batches, threads) as worker:
        seconds = interleaved({**runs, PEER: lambda: worker.run("WandaPruningModifier")}, repeats)
        differing = share_differing(first_block(wanda.masks), first_block(worker.masks()))
    return _atv_rows(seconds) + _peer_rows(seconds, differing), [floor_note, masks_note, f"{PEER}: {worker.versions}"]


def first_block(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The masks of block 0, which no earlier block's pruning has influenced."""
    return {name: masks[name] for name in masks if ".layers.0." in name}


def share_differing(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """Share of the entries in which two sets of masks differ.

    Raises:
        ValueError: if they do not belong to the same Linears.
    """
    if ours.keys() != theirs.keys():
        raise ValueError(f"masks of different Linears: {sorted(ours.keys() ^ theirs.keys())}")
    differing = sum(int((ours[name] != theirs[name]).sum()) for name in ours)
    return differing / sum(mask.numel() for mask in ours.values())


def _atv_rows(seconds: Mapping[str, Sequence[float]]) -> list[Row]:
    return [
        compare(seconds, FLOOR, FLOOR),
        compare(seconds, WANDA, FLOOR, 1.05),
        compare(seconds, ATV, FLOOR, 1.10),
        compare(seconds, ATV, WANDA, 1.05),
    ]


def _peer_rows(seconds: Mapping[str, Sequence[float]], differing: float) -> list[Row]:
    return [
        compare(seconds, PEER, FLOOR),
        compare(seconds, WANDA, PEER, 0.85),
        Row("mask entries of block 0 that differ", PEER, [differing], limit=0.001),
    ]
