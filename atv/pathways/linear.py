"""A Linear with one weight for text tokens and one for visual tokens."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atv.criteria import Pruned
from atv.pathways.routing import current_visual


class DecoupledLinear(nn.Module):
    """Replaces a Linear; both pathways start from its weight, each under its own mask (Mixture-of-Transformers).

    Where both modalities are present both products are computed and the token's own is taken, which is exact for
    any kernel; forwards of text alone use the text weight only.

    Args:
        linear: the dense Linear (in, out).
        text, visual: each pathway's mask, and its weight where the criterion updated what is kept.
    """

    def __init__(self, linear: nn.Linear, text: Pruned, visual: Pruned) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self.text = nn.Parameter(text.applied_to(weight), requires_grad=False)
        self.visual = nn.Parameter(visual.applied_to(weight), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, in) -> (batch, length, out); batch and length may be one dimension (OPT, experts)."""
        visual = current_visual()
        text_product = F.linear(x, self.text, self.bias)
        if visual is None:
            return text_product
        visual_product = F.linear(x, self.visual, self.bias)
        return torch.where(visual.reshape(*x.shape[:-1], 1), visual_product, text_product)
