"""Ranking by diversity."""

import torch
from torch import Tensor
from torch.nn import functional as F

from atv.selection.base import Tokens
from atv.selection.ranking import VisualRanking


class DiversityTopK(VisualRanking):
    """The visual tokens least like the others, 1 - mean cosine to them (ATV-Pruning's ablation, "DBS").

    Cosines are of the block's inputs; a single visual token scores 0.
    """

    def rank(self, tokens: Tokens) -> Tensor:
        unit = F.normalize(tokens.input.float(), dim=-1)
        others = int(tokens.visual.sum()) - 1
        if others < 1:
            return torch.zeros_like(unit[:, 0])
        total = unit[tokens.visual].sum(0)
        return 1 - (unit @ total - 1) / others
