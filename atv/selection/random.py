"""Random choice of visual tokens: the control for all ranking rules."""

import numpy as np
import torch
from torch import Tensor

from atv.selection.base import Tokens
from atv.selection.ranking import VisualRanking


class RandomVisual(VisualRanking):
    """All text tokens, and random visual tokens.

    Their order depends only on the run's seed, the block and the sample's index.
    """

    def rank(self, tokens: Tokens) -> Tensor:
        rng = np.random.default_rng((tokens.seed, tokens.block, tokens.sample))
        return torch.from_numpy(rng.random(len(tokens.visual))).to(tokens.visual.device)
