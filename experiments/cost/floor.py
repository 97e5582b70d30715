"""The minimum cost of calibrating block by block."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from atv.runtime.timing import now


@torch.no_grad()
def floor(model: PreTrainedModel, batches: Sequence[Mapping[str, Any]]) -> float:
    """Seconds to run every batch through the dense model, every decoder block twice, and nothing else.

    The model's own forward is called once per batch, so the vision tower and the embeddings run once, as they must, and
    the language head for one token only. The ratio of pruning to the floor shows what pruning needs on top. Pruning can
    save the second run of the last block, whose output is never used.
    """
    blocks = model.get_decoder().layers
    for block in blocks:
        block.forward = _twice(block.forward)
    started = now()
    try:
        for batch in batches:
            model(**batch, use_cache=False, logits_to_keep=1)
        return now() - started
    finally:
        for block in blocks:
            del block.forward


def _twice(forward: Callable[..., Any]) -> Callable[..., Any]:
    def both(*args: Any, **kwargs: Any) -> Any:
        forward(*args, **kwargs)
        return forward(*args, **kwargs)

    return both
