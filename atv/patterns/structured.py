"""Patterns that remove whole structures, so that the saved model is smaller."""

import copy
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from typing import Literal, Self

import torch
from torch import Tensor

from atv.model.lvlm import LVLM
from atv.model.removal import Removal
from atv.model.removed_structures import RemovedParts, refusal
from atv.model.structures import Structure, attention_heads, ffn_channels, members
from atv.model.targets import Target
from atv.patterns.base import Pattern
from atv.patterns.counting import lowest, pruned_count
from atv.plugins import at_least

Scored = Literal["structure", "reader"]


class Structured(Pattern):
    """Removes the structures of a block with the lowest total scores, equally many in all blocks of equal sparsity.

    Args:
        scored: which scores are summed: those of all weights of the structure, or only those of the Linear that reads
            it.

    Raises:
        ValueError: if ``scored`` is neither of these.
    """

    joint = True
    sparsity = None

    def __init__(self, scored: Scored = "structure") -> None:
        if scored not in ("structure", "reader"):
            raise ValueError(f"scored: expected 'structure' or 'reader', got {scored!r}")
        self.scored = scored
        self._structure: Structure | None = None

    @abstractmethod
    def structure(self, lvlm: LVLM) -> Structure:
        """Returns the weights of this model that are removed together.

        Raises:
            ValueError: if the model has no such structure or cannot be made smaller; the message names the model.
        """

    def rounded(self, kept: int, count: int) -> int:
        """Returns how many of a block's ``count`` structures stay if the sparsity alone would keep ``kept``."""
        return kept

    def kept_count(self, count: int, sparsity: float) -> int:
        """Returns how many of a block's ``count`` structures stay, at least one."""
        return max(self.rounded(count - pruned_count(count, sparsity), count), 1) if sparsity else count

    def about(self, lvlm: LVLM, targets: Mapping[str, Target]) -> dict[str, Target]:
        structure = self.structure(lvlm)
        member_names = members(lvlm, structure)
        if missing_targets := [name for name in member_names if name not in targets]:
            raise ValueError(
                f"targets: {type(self).__name__} removes {structure.name} from all blocks alike, but these targets "
                f"leave out {missing_targets[0]}; do not set targets"
            )
        return {name: targets[name] for name in member_names}

    def fitted(self, lvlm: LVLM) -> Self:
        fitted = copy.copy(self)
        fitted._structure = self.structure(lvlm)
        return fitted

    def check(self, lvlm: LVLM, targets: Mapping[str, Target], sparsity: float) -> None:
        structure, config = self._fitted_structure, lvlm.model.config
        count = structure.count(config)
        kept_count = self.kept_count(count, sparsity)
        if sparsity and kept_count == count:
            raise ValueError(
                f"sparsity: {sparsity} of {count} {structure.name} is none after {type(self).__name__}'s rounding; "
                "choose a higher sparsity"
            )
        if reason := refusal(config, structure, kept_count):
            possible = ", ".join(
                str(number) for number in range(1, count + 1) if refusal(config, structure, number) is None
            )
            raise ValueError(
                f"sparsity: {sparsity} leaves {kept_count} of {count} {structure.name}, which the model's config does "
                f"not allow ({reason}); possible numbers: {possible}"
            )
        RemovedParts.trial(lvlm, structure, kept_count).check(lvlm.model)

    def mask(self, score: Tensor, sparsity: float) -> Tensor:
        """Returns a mask that keeps everything, since a single Linear contains no whole structure."""
        return torch.ones_like(score, dtype=torch.bool)

    def masks(self, scores: Mapping[str, Tensor], sparsities: Mapping[str, float]) -> dict[str, Tensor]:
        structure = self._fitted_structure
        sums: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, score in scores.items():
            side = structure.side(name)
            assert side is not None
            by_line = score.sum(1 - side.dim, dtype=torch.float64)
            sums[name.rpartition(".")[0]][name] = by_line.unflatten(0, (-1, side.width)).sum(1)
        kept_structures = {module: self._kept_structures(by_name, sparsities) for module, by_name in sums.items()}
        return {
            name: self._expanded_mask(name, score, kept_structures[name.rpartition(".")[0]])
            for name, score in scores.items()
        }

    def removal(self, lvlm: LVLM, masks: Mapping[str, Tensor]) -> Removal | None:
        return RemovedParts.of(lvlm, self._fitted_structure, masks)

    @property
    def _fitted_structure(self) -> Structure:
        if self._structure is None:
            raise TypeError(f"{type(self).__name__} was used before it was fitted to a model")
        return self._structure

    def _kept_structures(self, sums: Mapping[str, Tensor], sparsities: Mapping[str, float]) -> Tensor:
        """Returns which structures of a module stay, bool (count,), from their summed scores by Linear (count,)."""
        reader = next(name for name in sums if name.endswith(self._fitted_structure.reader))
        summed_scores = sums.values() if self.scored == "structure" else [sums[reader]]
        score = torch.stack(list(summed_scores)).sum(0)
        sparsity = sparsities[reader]
        return ~lowest(score, len(score) - self.kept_count(len(score), sparsity))

    def _expanded_mask(self, name: str, score: Tensor, kept_structures: Tensor) -> Tensor:
        side = self._fitted_structure.side(name)
        assert side is not None
        lines = kept_structures.repeat_interleave(side.width)
        return (lines[:, None] if side.dim == 0 else lines[None]).expand(score.shape)


class FFNChannels(Structured):
    """Removes inner channels of the FFN: their rows of gate_proj and up_proj, and their columns of down_proj.

    A block with n channels keeps n - floor(n * sparsity), rounded to the nearest multiple of ``multiple``.

    Args:
        multiple: number that the number of remaining channels is a multiple of; kernels run best with such sizes.
        scored: which scores are summed: those of all three Linears ("structure"), or only those of down_proj
            ("reader"), as FLAP and its Wanda variant do.

    Raises:
        ValueError: if ``multiple`` is below 1, or for another value of ``scored``.
    """

    def __init__(self, multiple: int = 32, scored: Scored = "structure") -> None:
        super().__init__(scored)
        at_least(1, multiple=multiple)
        self.multiple = multiple

    def structure(self, lvlm: LVLM) -> Structure:
        return ffn_channels(lvlm)

    def rounded(self, kept: int, count: int) -> int:
        nearest = (2 * kept + self.multiple) // (2 * self.multiple) * self.multiple
        return min(max(nearest, self.multiple), count)


class AttentionHeads(Structured):
    """Removes key-value heads of the attention, each with all query heads that read it.

    Their rows of q_proj, k_proj and v_proj and their columns of o_proj are removed. A block with n key-value heads
    loses floor(n * sparsity) of them.

    Args:
        scored: which scores are summed: those of all four Linears ("structure"), or only those of o_proj ("reader"), as
            FLAP does.

    Raises:
        ValueError: for another value of ``scored``.
    """

    def structure(self, lvlm: LVLM) -> Structure:
        return attention_heads(lvlm)
