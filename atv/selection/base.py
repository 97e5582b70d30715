"""Which tokens enter the calibration pool."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """One sample at one decoder block, without its padding (n tokens, in order).

    ``visual`` is bool (n,); ``position`` counts from 0 (n,); ``input`` is the block's input (n, hidden) in the
    model's dtype; ``output`` the dense block's output, likewise; ``sample`` is the sample's index in the whole
    calibration set, whatever batch or rank it came from.
    """

    visual: Tensor
    position: Tensor
    input: Tensor
    output: Tensor
    sample: int
    block: int
    seed: int

    @property
    def text(self) -> Tensor:
        """bool (n,): every token that is not visual."""
        return ~self.visual

    @property
    def n_text(self) -> int:
        return int(self.text.sum())

    @cached_property
    def drift(self) -> Tensor:
        """How far the block turns each token, 1 - cos(input, output): float32 (n,) (ATV-Pruning, step 2)."""
        return token_drift(self.input, self.output)


def token_drift(before: Tensor, after: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """1 - cosine similarity of each row, computed in ``dtype``: (n, hidden) twice -> (n,)."""
    return 1 - torch.cosine_similarity(before.to(dtype), after.to(dtype), dim=-1)


@dataclass(frozen=True)
class SetStatistics:
    """What is known of a block once every calibration sample was observed."""

    mean_drift: float
    samples: int
    text_tokens: int
    visual_tokens: int


class TokenSelection(ABC):
    """A rule that picks the calibration tokens of each sample. Most rules write ``select`` alone.

    A rule that must know the whole calibration set first (a budget by mean drift, say) names its undecided tokens
    in ``candidates``; their inputs are kept until all samples were observed, when ``decide`` weighs them.
    """

    @abstractmethod
    def select(self, tokens: Tokens) -> Tensor:
        """Tokens that enter at once: bool (n,), or float weights (n,) that multiply their squared inputs."""

    def candidates(self, tokens: Tokens) -> Tensor:
        """Indices of the undecided tokens, best first: int64 (k,). By default there are none."""
        return tokens.position[:0]

    def decide(self, candidates: Tensor, n_text: int, statistics: SetStatistics) -> Tensor:
        """Which candidates enter: bool (k,) or float weights (k,), in the order that ``candidates`` gave."""
        raise TypeError(f"{type(self).__name__} names candidates but does not decide on them")
