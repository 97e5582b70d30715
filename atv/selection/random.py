"""The control of every ranking rule."""

import numpy as np
import torch
from torch import Tensor

from atv.selection.base import Tokens
from atv.selection.ranking import VisualRanking


class RandomVisual(VisualRanking):
    """Visual tokens in random order, drawn from the run's seed, the block and the sample's index alone."""

    def rank(self, tokens: Tokens) -> Tensor:
        rng = np.random.default_rng((tokens.seed, tokens.block, tokens.sample))
        return torch.from_numpy(rng.random(len(tokens.visual))).to(tokens.visual.device)
