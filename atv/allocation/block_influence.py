"""The choice of whole blocks by how much each block moves its tokens."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from atv.allocation.base import Allocation, DenseStatistics
from atv.model.batch import DenseBatch
from atv.model.decoder import decoder_blocks
from atv.model.hooks import first_output, token_states
from atv.model.targets import Target
from atv.patterns.counting import pruned_count
from atv.selection.base import token_drift

Whose = Literal["all", "text", "visual"]


class BlockInfluence(Allocation):
    """Prunes the blocks that move their tokens least entirely, and the others not at all (ShortGPT, arXiv 2403.03853).

    A block's influence is the mean over tokens of 1 - cos(input, output) in the dense model, which is ATV's drift. Of n
    blocks, floor(n * sparsity) are pruned; in a tie, the earlier block.

    Args:
        tokens: which tokens count: "all", "text" or "visual" ones.

    Raises:
        ValueError: for another value of ``tokens``.
    """

    needs_dense = True
    by_block = True
    chooses_blocks = True

    def __init__(self, tokens: Whose = "all") -> None:
        if tokens not in ("all", "text", "visual"):
            raise ValueError(f"tokens: expected 'all', 'text' or 'visual', got {tokens!r}")
        self.tokens = tokens

    def measure(self, model: nn.Module, linears: Mapping[str, nn.Linear], batch: DenseBatch) -> dict[str, Tensor]:
        assert isinstance(model, PreTrainedModel)
        counted = {"all": batch.valid, "text": batch.valid & ~batch.visual, "visual": batch.visual}[self.tokens]
        sums: dict[str, Tensor] = {}

        def hook(block: int) -> Callable[..., None]:
            def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
                hidden_states, name = args[0] if args else kwargs["hidden_states"], f"{type(module).__name__} {block}"
                before, after = (
                    token_states(states, counted.shape, name) for states in (hidden_states, first_output(output))
                )
                drift = token_drift(before, after)
                count_and_drift = (counted, drift.masked_fill(~counted, 0))
                sums[_key(block)] = torch.stack([values.double().sum(1) for values in count_and_drift], dim=1)

            return record

        with ExitStack() as hooks:
            for index, block in enumerate(decoder_blocks(model)):
                hooks.enter_context(block.register_forward_hook(hook(index), with_kwargs=True))
            model(**batch.inputs, use_cache=False)
        return sums

    def allocate(self, linears: Mapping[str, Target], sparsity: float, dense: DenseStatistics) -> dict[str, float]:
        influence: dict[int, float] = {}
        for block in sorted(set(dense.block_of.values())):
            count, drift = dense.totals[_key(block)].tolist()
            if not count:
                raise ValueError(f"tokens: no {self.tokens} token of the calibration set reaches block {block}")
            influence[block] = drift / count
        pruned_blocks = sorted(influence, key=lambda block: (influence[block], block))[
            : pruned_count(len(influence), sparsity)
        ]
        return {name: float(dense.block_of[name] in pruned_blocks) for name in linears}


def _key(block: int) -> str:
    return f"block {block}"
