"""Rules whose pool is a weighted sum of parts, with weights set once a block has seen all samples."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from atv.model.batch import DenseBatch
from atv.plugins import ContractError
from atv.selection.base import SetStatistics, Tokens, TokenSelection


@dataclass(frozen=True)
class ObservedBlock:
    """A block at which all samples have been observed, for a rule that weights its parts.

    ``targets`` are the names of the block's Linears. ``held_out`` maps a weight of visual tokens (text tokens have
    weight 1) to the shares of the Linears' squared outputs that are lost on text and on visual tokens, for samples on
    which the mask was not chosen. ``measured`` is the sum over all samples of the results of ``measure``, by name,
    float64 (k,).
    """

    targets: tuple[str, ...]
    statistics: SetStatistics
    held_out: Callable[[float], tuple[float, float]]
    measured: Mapping[str, Tensor] = field(default_factory=dict)


class PartedSelection(TokenSelection):
    """A rule with several ``parts``: X^T X is the sum of weight_p X_p^T X_p / n_p, and squared norms likewise.

    A part is named after the attribute of ``Tokens`` that marks its tokens (text, visual, answer); n_p is the number of
    its tokens. The statistics of each part are gathered separately, and ``weigh`` returns the weights once a block has
    seen all samples. Experts are not supported.

    Attributes:
        needs_dense: whether ``measure`` is called for every calibration batch on the dense model first.
        holds_out: whether the rule reads errors on held-out samples (``ObservedBlock.held_out``).
        parts: names of the parts.
    """

    needs_whole = True
    average = "tokens"
    needs_dense: bool = False
    holds_out: bool = False
    parts: tuple[str, ...] = ("text", "visual")

    @property
    def rules(self) -> list[TokenSelection]:
        """A selection rule for each part, which gathers its statistics."""
        return [_Part(part) for part in self.parts]

    @abstractmethod
    def weigh(self, block: ObservedBlock) -> Mapping[str, tuple[float, ...]]:
        """Returns the weights of the parts, in order, for each Linear of the block by name; at least one is above 0."""

    def measure(self, model: nn.Module, linears: Mapping[str, nn.Linear], batch: DenseBatch) -> dict[str, Tensor]:
        """Returns measurements by name, float (batch, k), with one row per sample. Called without gradients."""
        raise TypeError(f"{type(self).__name__} sets needs_dense but does not define measure")

    def select(self, tokens: Tokens) -> Tensor:
        """Raises an error: the weights of tokens are known only once the block has seen all samples."""
        raise ContractError(f"selection: {type(self).__name__} weights parts block by block; no other rule can wrap it")


class _Part(TokenSelection):
    """The tokens of one part."""

    average = "tokens"

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def select(self, tokens: Tokens) -> Tensor:
        return getattr(tokens, self.kind)
