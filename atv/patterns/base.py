"""Which scores a sparsity pattern keeps."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from atv.model.lvlm import LVLM
from atv.model.removal import Removal
from atv.model.targets import Target
from atv.plugins import ContractError, Plugin


class Pattern(Plugin, ABC):
    """Turns scores into a mask, True = kept. Most patterns write ``sparsity`` and ``mask`` alone.

    ``joint`` says that the Linears of a block compete with one another: ``masks`` then decides them together.
    ``by_block`` says that a block goes whole or stays, so that the allocation must choose among blocks; ``reroutes``
    that experts go whole, as many in every block, and their tokens to others.
    """

    option = "pattern"

    joint: bool = False
    by_block: bool = False
    reroutes: bool = False

    @property
    @abstractmethod
    def sparsity(self) -> float | None:
        """The fraction that the pattern itself implies, or None where any can be asked for."""

    @abstractmethod
    def mask(self, score: Tensor, sparsity: float) -> Tensor:
        """bool (out, in) for scores of the same shape.

        Raises:
            ValueError: for a row that the pattern does not fit.
        """

    def checked_mask(self, score: Tensor, sparsity: float) -> Tensor:
        """What ``mask`` gives, checked.

        Raises:
            ContractError: unless it is bool and of the scores' shape.
        """
        return self._checked("mask", self.mask(score, sparsity), score)

    def masks(self, scores: Mapping[str, Tensor], sparsities: Mapping[str, float]) -> dict[str, Tensor]:
        """The masks of several Linears by name, here each by itself."""
        return {name: self.mask(score, sparsities[name]) for name, score in scores.items()}

    def checked_masks(self, scores: Mapping[str, Tensor], sparsities: Mapping[str, float]) -> dict[str, Tensor]:
        """What ``masks`` gives, checked as by ``checked_mask``."""
        made: Any = self.masks(scores, sparsities)
        if not isinstance(made, Mapping):
            kind, given = type(self).__name__, type(made).__name__
            raise ContractError(f"pattern: {kind}.masks gave a {given}; expected a dict of names to masks")
        return {name: self._checked("masks", made.get(name), score, f" for {name}") for name, score in scores.items()}

    def _checked(self, method: str, mask: Any, score: Tensor, where: str = "") -> Tensor:
        whole = isinstance(mask, Tensor)
        if not whole or mask.shape != score.shape or mask.dtype != torch.bool:
            made = f"{mask.dtype} {tuple(mask.shape)}" if whole else f"a {type(mask).__name__}"
            name, expected = f"{type(self).__name__}.{method}", tuple(score.shape)
            raise ContractError(f"pattern: {name} gave {made}{where}; expected torch.bool {expected}")
        return mask

    def about(self, lvlm: LVLM, targets: Mapping[str, Target]) -> dict[str, Target]:
        """Of the targets that were asked for, those that the pattern is about; here all."""
        return dict(targets)

    def fitted(self, lvlm: LVLM) -> Self:
        """The pattern as it serves this model; here it is the same for all."""
        return self

    def check(self, lvlm: LVLM, targets: Mapping[str, Target], sparsity: float) -> None:
        """Whether the pattern serves every target.

        Raises:
            ValueError: naming the first that it does not fit.
        """
        for name, target in targets.items():
            try:
                self.checked_mask(torch.zeros(1, target.in_features), sparsity)
            except ContractError as error:
                raise ContractError(f"{error} ({name})") from error
            except ValueError as error:
                raise ValueError(f"{error} ({name})") from error

    def settle(self, lvlm: LVLM, target: Target, mask: Tensor) -> None:
        """What a mask asks of the running model beside the zeros; here nothing."""
        return None

    def removal(self, lvlm: LVLM, masks: Mapping[str, Tensor]) -> Removal | None:
        """What its masks take out whole, so that the saved model is smaller; None where zeros stay."""
        return None

    def sweep_width(self, block: int) -> int | None:
        """How many columns a sweep from left to right decides at a time (SparseGPT's, in blocks of ``block``).

        None: the mask of the whole weight is chosen before the sweep.
        """
        return None

    def swap_width(self, columns: int) -> int | None:
        """Within how many consecutive inputs a pruned and a kept weight of a row may change places.

        ``columns`` is the length of the row. None: it is not known which may without breaking the pattern.
        """
        return None

    def columns_mask(self, score: Tensor, sparsity: float, done: int) -> Tensor:
        """The mask of some columns (out, width) when ``done`` columns on their left were decided before."""
        raise TypeError(f"{type(self).__name__} does not decide columns by themselves")
