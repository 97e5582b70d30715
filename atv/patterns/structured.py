"""Structures that go whole, so that the saved model is a smaller one."""

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
    """The structures of a block with the lowest scores in sum go, the same number in every block of equal sparsity.

    Args:
        scored: whose scores are summed: all of the structure's, or those of the Linear that reads it alone.

    Raises:
        ValueError: for another choice.
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
        """What goes together in this model.

        Raises:
            ValueError: naming a model that has none, or of which no smaller one can be made.
        """

    def rounded(self, kept: int, count: int) -> int:
        """How many of a block's ``count`` structures stay where ``kept`` would by the sparsity alone."""
        return kept

    def kept_count(self, count: int, sparsity: float) -> int:
        """How many of a block's ``count`` structures stay, at least one."""
        return max(self.rounded(count - pruned_count(count, sparsity), count), 1) if sparsity else count

    def about(self, lvlm: LVLM, targets: Mapping[str, Target]) -> dict[str, Target]:
        structure = self.structure(lvlm)
        own = members(lvlm, structure)
        if lacking := [name for name in own if name not in targets]:
            raise ValueError(
                f"targets: {type(self).__name__} removes {structure.name} from all blocks alike, and these leave out "
                f"{lacking[0]}; leave targets away"
            )
        return {name: targets[name] for name in own}

    def fitted(self, lvlm: LVLM) -> Self:
        fitted = copy.copy(self)
        fitted._structure = self.structure(lvlm)
        return fitted

    def check(self, lvlm: LVLM, targets: Mapping[str, Target], sparsity: float) -> None:
        structure, config = self._of_the_model, lvlm.model.config
        count = structure.count(config)
        kept = self.kept_count(count, sparsity)
        if sparsity and kept == count:
            raise ValueError(
                f"sparsity: {sparsity} of {count} {structure.name} is none by {type(self).__name__}'s rounding; "
                "ask for more"
            )
        if why := refusal(config, structure, kept):
            possible = ", ".join(str(n) for n in range(1, count + 1) if refusal(config, structure, n) is None)
            raise ValueError(
                f"sparsity: {sparsity} leaves {kept} of {count} {structure.name}, and the model's config does not take "
                f"them ({why}); it takes {possible}"
            )
        RemovedParts.trial(lvlm, structure, kept).check(lvlm.model)

    def mask(self, score: Tensor, sparsity: float) -> Tensor:
        """A Linear by itself holds no whole structure: all of it stays."""
        return torch.ones_like(score, dtype=torch.bool)

    def masks(self, scores: Mapping[str, Tensor], sparsities: Mapping[str, float]) -> dict[str, Tensor]:
        structure = self._of_the_model
        sums: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, score in scores.items():
            side = structure.side(name)
            assert side is not None
            by_line = score.sum(1 - side.dim, dtype=torch.float64)
            sums[name.rpartition(".")[0]][name] = by_line.unflatten(0, (-1, side.width)).sum(1)
        kept = {module: self._kept(by_name, sparsities) for module, by_name in sums.items()}
        return {name: self._mask(name, score, kept[name.rpartition(".")[0]]) for name, score in scores.items()}

    def removal(self, lvlm: LVLM, masks: Mapping[str, Tensor]) -> Removal | None:
        return RemovedParts.of(lvlm, self._of_the_model, masks)

    @property
    def _of_the_model(self) -> Structure:
        if self._structure is None:
            raise TypeError(f"{type(self).__name__} is asked before it was fitted to a model")
        return self._structure

    def _kept(self, sums: Mapping[str, Tensor], sparsities: Mapping[str, float]) -> Tensor:
        """Which structures of a module stay, bool (count,), from the sums by Linear (count,)."""
        reader = next(name for name in sums if name.endswith(self._of_the_model.reader))
        counted = sums.values() if self.scored == "structure" else [sums[reader]]
        score = torch.stack(list(counted)).sum(0)
        sparsity = sparsities[reader]
        return ~lowest(score, len(score) - self.kept_count(len(score), sparsity))

    def _mask(self, name: str, score: Tensor, kept: Tensor) -> Tensor:
        side = self._of_the_model.side(name)
        assert side is not None
        lines = kept.repeat_interleave(side.width)
        return (lines[:, None] if side.dim == 0 else lines[None]).expand(score.shape)


class FFNChannels(Structured):
    """Inner channels of the FFN go: their rows of gate and up, their columns of down.

    A block of n channels keeps n - floor(n * sparsity), rounded to the nearest multiple.

    Args:
        multiple: what the number of channels that stay is a multiple of, since kernels like such sizes.
        scored: whose scores are summed: those of all three Linears, or of down_proj alone, as FLAP and its Wanda do.

    Raises:
        ValueError: for a multiple under 1, or another choice of scores.
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
    """Key-value heads of the attention go, each with all query heads that read it.

    They lose their rows of q, k and v and their columns of o. A block of n key-value heads loses floor(n * sparsity).

    Args:
        scored: whose scores are summed: those of all four Linears, or of o_proj alone, as FLAP does.

    Raises:
        ValueError: for another choice.
    """

    def structure(self, lvlm: LVLM) -> Structure:
        return attention_heads(lvlm)
