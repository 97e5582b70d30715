"""The base class of sparsity patterns."""

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
    """Base class of patterns, which turn scores into a mask, True = kept. Most only define ``sparsity`` and ``mask``.

    Attributes:
        joint: whether the Linears of a block compete with one another, so that ``masks`` decides them together.
        by_block: whether blocks are removed or kept as a whole, so that the allocation must choose among blocks.
        reroutes: whether whole experts are removed, equally many in every block, and their tokens go to other experts.
    """

    option = "pattern"

    joint: bool = False
    by_block: bool = False
    reroutes: bool = False

    @property
    @abstractmethod
    def sparsity(self) -> float | None:
        """The sparsity that the pattern implies, or None if it accepts any sparsity."""

    @abstractmethod
    def mask(self, score: Tensor, sparsity: float) -> Tensor:
        """Returns the mask, bool (out, in), for scores of the same shape.

        Raises:
            ValueError: if the pattern does not fit the length of a row.
        """

    def checked_mask(self, score: Tensor, sparsity: float) -> Tensor:
        """Returns the mask from ``mask``, checked.

        Raises:
            ContractError: if the mask is not bool or does not have the shape of the scores.
        """
        return self._checked("mask", self.mask(score, sparsity), score)

    def masks(self, scores: Mapping[str, Tensor], sparsities: Mapping[str, float]) -> dict[str, Tensor]:
        """Returns the masks of several Linears by name; by default, each is decided separately."""
        return {name: self.mask(score, sparsities[name]) for name, score in scores.items()}

    def checked_masks(self, scores: Mapping[str, Tensor], sparsities: Mapping[str, float]) -> dict[str, Tensor]:
        """Returns the masks from ``masks``, checked as in ``checked_mask``."""
        masks: Any = self.masks(scores, sparsities)
        if not isinstance(masks, Mapping):
            class_name, result_type = type(self).__name__, type(masks).__name__
            raise ContractError(
                f"pattern: {class_name}.masks returned a {result_type}; expected a dict of names to masks"
            )
        return {name: self._checked("masks", masks.get(name), score, f" for {name}") for name, score in scores.items()}

    def _checked(self, method: str, mask: Any, score: Tensor, location: str = "") -> Tensor:
        is_tensor = isinstance(mask, Tensor)
        if not is_tensor or mask.shape != score.shape or mask.dtype != torch.bool:
            description = f"{mask.dtype} {tuple(mask.shape)}" if is_tensor else f"a {type(mask).__name__}"
            label, expected = f"{type(self).__name__}.{method}", tuple(score.shape)
            raise ContractError(f"pattern: {label} returned {description}{location}; expected torch.bool {expected}")
        return mask

    def about(self, lvlm: LVLM, targets: Mapping[str, Target]) -> dict[str, Target]:
        """Returns the requested targets that the pattern covers; by default all."""
        return dict(targets)

    def fitted(self, lvlm: LVLM) -> Self:
        """Returns the pattern adapted to this model; by default the pattern itself."""
        return self

    def check(self, lvlm: LVLM, targets: Mapping[str, Target], sparsity: float) -> None:
        """Checks that the pattern fits every target.

        Raises:
            ValueError: if it does not; the message names the first such target.
        """
        for name, target in targets.items():
            try:
                self.checked_mask(torch.zeros(1, target.in_features), sparsity)
            except ContractError as error:
                raise ContractError(f"{error} ({name})") from error
            except ValueError as error:
                raise ValueError(f"{error} ({name})") from error

    def settle(self, lvlm: LVLM, target: Target, mask: Tensor) -> None:
        """Applies to the running model what a mask requires beyond zeros; by default nothing."""
        return None

    def removal(self, lvlm: LVLM, masks: Mapping[str, Tensor]) -> Removal | None:
        """Returns what the masks remove whole, so that the saved model is smaller; None if zeros stay in place."""
        return None

    def sweep_width(self, block: int) -> int | None:
        """Returns how many columns a sweep from left to right (as in SparseGPT, with ``block``) decides at a time.

        None means that the mask of the whole weight is chosen before the sweep.
        """
        return None

    def swap_width(self, columns: int) -> int | None:
        """Returns within how many consecutive inputs a pruned and a kept weight of a row may swap places.

        ``columns`` is the length of the row. None means that it is unknown which swaps preserve the pattern.
        """
        return None

    def columns_mask(self, score: Tensor, sparsity: float, done: int) -> Tensor:
        """Returns the mask of some columns (out, width), after the ``done`` columns on their left have been decided."""
        raise TypeError(f"{type(self).__name__} does not decide columns separately")
