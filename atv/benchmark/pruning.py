"""Pruning whole models: Wanda's pool and ATV-Pruning against the floor, and against llm-compressor."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor
from transformers import PreTrainedModel

import atv
from atv.benchmark.floor import floor
from atv.benchmark.peer import LlmCompressor
from atv.benchmark.timing import Row, compare, elapsed, interleaved
from atv.benchmark.workload import Batch, Shape, random_batches, random_llava
from atv.trainer import quiet_trainer

FLOOR, WANDA, ATV, PEER = "floor", "Wanda", "ATV", "llm-compressor's Wanda"


def prune(model: PreTrainedModel, batches: Sequence[Batch], selection: str) -> Mapping[str, Tensor]:
    """Masks at 50%, unstructured; the model is pruned in place."""
    return atv.prune(model, batches, selection=selection, trainer=quiet_trainer(enable_progress_bar=False)).masks


def rows(shape: Shape, repeats: int, threads: int, peer: Path) -> tuple[list[Row], list[str]]:
    """The table's rows and remarks; without the environment of ``peer``, its Python, llm-compressor is left out."""
    model, batches = random_llava(shape), random_batches(shape)
    floor(model, batches[:2])
    masks: dict[str, Tensor] = {}

    def pruning(selection: str) -> Callable[[], float]:
        def run() -> float:
            fresh = deepcopy(model)
            return elapsed(lambda: masks.update(prune(fresh, batches, selection)))

        return run

    runs = {FLOOR: lambda: elapsed(lambda: floor(model, batches)), WANDA: pruning("AllTokens")}
    if not peer.is_file():
        seconds = interleaved({**runs, ATV: pruning("DriftTopK")}, repeats)
        return _ours(seconds), [f"{PEER}: skipped, there is no {peer}; `make bench-setup` makes it"]
    with TemporaryDirectory() as folder, LlmCompressor(peer, Path(folder), model, batches, threads) as other:
        seconds = interleaved({**runs, ATV: pruning("DriftTopK"), PEER: other.run}, repeats)
        theirs = other.masks()
        runs[WANDA]()
    differing = Row("mask entries that differ", PEER, [share_differing(masks, theirs)], limit=0.001)
    peers = [compare(seconds, PEER, FLOOR), compare(seconds, WANDA, PEER, 0.85), differing]
    return _ours(seconds) + peers, [f"{PEER}: {other.versions}"]


def share_differing(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """Share of the entries in which two sets of masks differ.

    Raises:
        ValueError: when they do not belong to the same Linears.
    """
    if ours.keys() != theirs.keys():
        raise ValueError(f"masks of different Linears: {sorted(ours.keys() ^ theirs.keys())}")
    differing = sum(int((ours[name] != theirs[name]).sum()) for name in ours)
    return differing / sum(mask.numel() for mask in ours.values())


def _ours(seconds: Mapping[str, Sequence[float]]) -> list[Row]:
    return [
        compare(seconds, FLOOR, FLOOR),
        compare(seconds, WANDA, FLOOR, 1.05),
        compare(seconds, ATV, FLOOR, 1.10),
        compare(seconds, ATV, WANDA, 1.05),
    ]
