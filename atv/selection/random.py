"""The control of every ranking rule."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from atv.selection.base import Tokens
from atv.selection.ranking import VisualRanking


class RandomVisual(VisualRanking):
    """Visual tokens in random order, drawn from the run's seed, the block and the sample's index alone.

    Args:
        alpha, share, cap, rounding: the budget, see ``VisualRanking``.
    """

    def __init__(
        self,
        alpha: float | None = None,
        share: float | None = None,
        cap: bool = True,
        rounding: Literal["round", "floor"] = "round",
    ) -> None:
        super().__init__(1.0 if alpha is None and share is None else alpha, share, cap, rounding)

    def rank(self, tokens: Tokens) -> Tensor:
        rng = np.random.default_rng((tokens.seed, tokens.block, tokens.sample))
        return torch.from_numpy(rng.random(len(tokens.visual))).to(tokens.visual.device)
