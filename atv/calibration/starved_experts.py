"""Experts to which too few tokens of the calibration pool were routed, and substitutes for their statistics."""

from collections.abc import Mapping

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

# From this many tokens on, an expert's own statistics beat any substitute. On Linears of the bundled model, with tokens
# clustered as routers cluster them, masks from 8 tokens differ from those of the whole cluster in 6.8% of the entries
# (down_proj: 12.7%), masks from all tokens in 12.6% (16.3%), and masks by magnitude in 14.1% (20.5%).
FEWEST_TOKENS = 8


def with_fallback(sums: Tensor, tokens: Tensor, common: bool) -> Tensor:
    """Returns the sums of a layer's experts (experts, ...) with those of starved experts replaced.

    If experts read the same channels, a starved one gets the sums of all experts: the whole pool of the block. If each
    has its own channels, or the whole pool is as small, nothing else is known, so channels count equally and magnitude
    decides.

    Args:
        sums: squared inputs (experts, in).
        tokens: number of the pool's tokens by expert (experts,).
        common: whether the experts read the same channels.
    """
    starved = tokens < FEWEST_TOKENS
    whole_pool = common and tokens.sum() >= FEWEST_TOKENS
    substitute = sums.sum(0) if whole_pool else torch.ones_like(sums[0])
    return torch.where(starved[:, None], substitute, sums)


def experts_seen(tokens: Tensor) -> dict[str, list[int]]:
    """Returns, for the report, the number of the pool's tokens by expert, and the starved experts.

    Args:
        tokens: number of the pool's tokens by expert (experts,).
    """
    starved = (tokens < FEWEST_TOKENS).nonzero().flatten()
    return {"tokens": tokens.int().tolist(), "starved": starved.tolist()}


def warn_of_starved(block: int, layers: Mapping[str, Mapping[str, list[int]]], compared: bool) -> None:
    """Warns of each layer with starved experts; these get substitute statistics unless experts are ``compared``."""
    substitution = "statistics of all experts' tokens (in down_proj, magnitude) replace theirs"
    consequence = "nothing replaces their statistics, because experts compete" if compared else substitution
    for name, layer in layers.items():
        if layer["starved"]:
            starved = ", ".join(f"{expert} ({layer['tokens'][expert]} tokens)" for expert in layer["starved"])
            rank_zero_warn(
                f"block {block}: fewer than {FEWEST_TOKENS} tokens of the pool reached expert {starved} of {name}; "
                f"{consequence}"
            )
