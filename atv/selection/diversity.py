"""Ranking of visual tokens by diversity."""

import torch
from torch import Tensor
from torch.nn import functional as F

from atv.selection.base import Tokens
from atv.selection.ranking import VisualRanking


class DiversityTopK(VisualRanking):
    """All text tokens, and the visual tokens least similar to the other visual ones (ATV-Pruning's ablation, "DBS").

    A token's score is 1 - the mean cosine between its block input and those of the other visual tokens. A single
    visual token scores 0.
    """

    def rank(self, tokens: Tokens) -> Tensor:
        unit = F.normalize(tokens.input.float(), dim=-1)
        other_count = int(tokens.visual.sum()) - 1
        if other_count < 1:
            return torch.zeros_like(unit[:, 0])
        total = unit[tokens.visual].sum(0)
        return 1 - (unit @ total - 1) / other_count
