"""Cost of new values for the kept weights against the floor, and of SparseGPT against llm-compressor's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from atv.runtime.timing import Row, compare, interleaved
from experiments.cost.floor import floor
from experiments.cost.peer import LlmCompressor
from experiments.cost.whole_models import FLOOR, TimedPruning
from experiments.cost.workload import Batch, Shape, random_batches, random_llava

SPARSE_GPT, PEER = "SparseGPT", "llm-compressor's SparseGPT"
# Pruning rules, each with all tokens in the pool.
METHODS: dict[str, dict[str, Any]] = {
    SPARSE_GPT: {"criterion": "SparseGPT"},
    "ADMM": {"criterion": "ADMM"},
    "ALPS": {"criterion": "ALPS"},
    "Wanda, least squares": {"reconstruct": "LeastSquares"},
    "Wanda, SparseSwaps": {"refine": "SparseSwaps"},
    "Wanda++'s regional gradients": {"criterion": "WandaPlusPlus"},
    "Wanda, blocks trained": {"reconstruct": "BlockReconstruction"},
}
# SparseSwaps tries a row's swaps in pairs: at the main table's width, this takes a quarter of an hour on a CPU.
SHAPE = Shape(hidden=384, ffn=1024, blocks=2, samples=12, visual=256)
# In block 0, these read the same inputs, which no pruning has changed.
ALIKE = tuple(f"self_attn.{name}_proj" for name in "qkv")


def rows(repeats: int, threads: int, peer: Path, shape: Shape = SHAPE) -> tuple[list[Row], list[str]]:
    """The table's rows and remarks; without ``peer``, the Python of its environment, llm-compressor is left out."""
    model, batches = random_llava(shape), random_batches(shape)
    size_note = f"{', '.join(METHODS)}: {shape}"
    floor(model, batches[:2])
    timed = {name: TimedPruning(model, batches, "AllTokens", **rules) for name, rules in METHODS.items()}
    runs = {FLOOR: lambda: floor(model, batches)} | {name: pruning.run for name, pruning in timed.items()}
    if not peer.is_file():
        seconds = interleaved(runs, repeats)
        return [compare(seconds, name, FLOOR) for name in METHODS], [size_note, f"{PEER}: skipped, there is no {peer}"]
    with LlmCompressor(peer, model, batches, threads) as worker:
        seconds = interleaved({**runs, PEER: lambda: worker.run("SparseGPTModifier")}, repeats)
        error = _error(model, batches, timed[SPARSE_GPT].weights) / _error(model, batches, worker.weights())
    peer_rows = [compare(seconds, PEER, FLOOR), compare(seconds, SPARSE_GPT, PEER, 1.0)]
    errors = Row("error of SparseGPT's outputs in block 0", PEER, [error])
    outputs_note = (
        "outputs are those of q, k and v of block 0; their error is squared and summed over the calibration tokens; "
        "llm-compressor distributes zeros over all rows of 128 columns, ours prunes equally many in each row"
    )
    return [compare(seconds, name, FLOOR) for name in METHODS] + [*peer_rows, errors], [size_note, outputs_note]


@torch.no_grad()
def _error(model: PreTrainedModel, batches: Sequence[Batch], pruned: Mapping[str, Tensor]) -> float:
    """Squared error that pruned weights cause in the outputs of q, k and v of block 0, summed over all tokens."""
    names = [name for name in pruned if name.endswith(ALIKE)]
    weight_errors = torch.cat([pruned[name].double() - model.get_parameter(f"{name}.weight") for name in names])
    squared_errors: list[Tensor] = []
    hook = model.get_submodule(names[0]).register_forward_pre_hook(
        lambda linear, inputs: squared_errors.append(
            (inputs[0].flatten(0, -2).double() @ weight_errors.T).square().sum()
        )
    )
    try:
        for batch in batches:
            model(**batch, use_cache=False, logits_to_keep=1)
    finally:
        hook.remove()
    return float(torch.stack(squared_errors).sum())
