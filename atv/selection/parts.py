"""Rules whose pool is a weighted sum of parts, weighed when a block was seen by all samples."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from atv.model.batch import DenseBatch
from atv.plugins import ContractError
from atv.selection.base import SetStatistics, Tokens, TokenSelection


@dataclass(frozen=True)
class ObservedBlock:
    """A block that all samples were observed at, for a rule that weighs its parts.

    ``targets`` are the names of the block's Linears; ``held_out`` gives, for a weight of visual tokens (those of text
    weigh 1), the share of the Linears' squared outputs that is lost, on text and on visual tokens of samples that the
    mask was not chosen on; ``measured`` is the sum over all samples of what ``measure`` gave, by name, float64 (k,).
    """

    targets: tuple[str, ...]
    statistics: SetStatistics
    held_out: Callable[[float], tuple[float, float]]
    measured: Mapping[str, Tensor] = field(default_factory=dict)


class PartedSelection(TokenSelection):
    """A rule of several ``parts``: X^T X is the sum of weight_p X_p^T X_p / n_p, and squared norms likewise.

    A part is named after the attribute of ``Tokens`` that says which tokens are in it (text, visual, answer); n_p
    counts its tokens. Parts are gathered apart, and ``weigh`` gives their weights once a block was seen by all samples.
    A rule that ``needs_dense`` measures every calibration batch on the dense model first; one that ``holds_out`` asks
    for errors on held-out samples. Experts are refused.
    """

    needs_whole = True
    average = "tokens"
    needs_dense: bool = False
    holds_out: bool = False
    parts: tuple[str, ...] = ("text", "visual")

    @property
    def rules(self) -> list[TokenSelection]:
        """A rule for each part, by which it is gathered."""
        return [_Part(part) for part in self.parts]

    @abstractmethod
    def weigh(self, block: ObservedBlock) -> Mapping[str, tuple[float, ...]]:
        """The weights of the parts, in their order, for each Linear of the block by name; at least one above 0."""

    def measure(self, model: nn.Module, linears: Mapping[str, nn.Linear], batch: DenseBatch) -> dict[str, Tensor]:
        """Name -> float (batch, k), a row a sample. Called without gradients."""
        raise TypeError(f"{type(self).__name__} needs the dense model but does not measure it")

    def select(self, tokens: Tokens) -> Tensor:
        """Not defined: what a token weighs is known later."""
        raise ContractError(f"selection: {type(self).__name__} weighs parts block by block; no other rule can wrap it")


class _Part(TokenSelection):
    """The tokens of one part."""

    average = "tokens"

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def select(self, tokens: Tokens) -> Tensor:
        return getattr(tokens, self.kind)
