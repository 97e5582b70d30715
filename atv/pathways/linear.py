"""A Linear with one weight for text tokens and one for visual tokens."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atv.criteria import Pruned
from atv.pathways.routing import current_modalities


class DecoupledLinear(nn.Module):
    """Replaces a Linear; both pathways start from its weight, each under its own mask (Mixture-of-Transformers).

    Each token is multiplied once, by its own modality's weight. Where both weights are equal they are one parameter
    and one product serves all tokens, as the ordinary Linear's does, bit for bit; so do forwards of text alone. Where
    they differ, a product over fewer rows may round otherwise: last bits move, as with another batch size.

    Args:
        linear: the dense Linear (in, out).
        text, visual: each pathway's mask, and its weight where the criterion updated what is kept.
    """

    def __init__(self, linear: nn.Linear, text: Pruned, visual: Pruned) -> None:
        super().__init__()
        weight, other = (pruned.applied_to(linear.weight.detach()) for pruned in (text, visual))
        self.text = nn.Parameter(weight, requires_grad=False)
        self.visual = self.text if torch.equal(weight, other) else nn.Parameter(other, requires_grad=False)
        self.bias = linear.bias

    @property
    def weight(self) -> Tensor:
        """Dtype and device, which some models ask of a Linear, and no numbers: shape (0,).

        Whoever computes with a weight past the module would use one pathway's for both, and gets an error.
        """
        return self.text.new_empty(0)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, in) -> (batch, length, out); batch and length may be one dimension (OPT, experts)."""
        modalities = current_modalities()
        if modalities is None or self.visual is self.text:
            return F.linear(x, self.text, self.bias)
        rows = x.reshape(-1, x.shape[-1])
        made = x.new_empty(len(rows), len(self.text))
        for weight, own in ((self.text, modalities.text_rows), (self.visual, modalities.visual_rows)):
            made.index_copy_(0, own, F.linear(rows.index_select(0, own), weight, self.bias))
        return made.view(*x.shape[:-1], -1)
