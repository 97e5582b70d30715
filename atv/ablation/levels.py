"""How hard ablations prune a model: so that it still answers some questions, but no longer all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from atv.ablation.level_options import option_text, read_patterns, read_sparsities
from atv.bundled import BUNDLED
from atv.data.sources import own_model
from atv.everyday.assembly.made_folder import EVERYDAY


class UnsuitedModel(ValueError):
    """Raised for an ablation that is for different models than the given one."""


@dataclass(frozen=True)
class Levels:
    """Sparsities (shares of weights to remove, from mild to hard) and N:M patterns that suit a model.

    Attributes:
        model: the model that they suit: "bundled", "everyday", or "" for any other.
        curve: sparsities of one pathway alone, which may lose more than the whole decoder; they include all of
            ``compared``.
        compared: sparsities of the whole decoder at which methods are compared.
        patterns: N:M patterns at which methods are compared as well.
    """

    model: str
    curve: tuple[float, ...]
    compared: tuple[float, ...]
    patterns: tuple[str, ...] = ("2:4", "4:8")

    @classmethod
    def suited(
        cls, model: str, sparsities: Sequence[float] | str | None = None, patterns: Sequence[str] | str | None = None
    ) -> "Levels":
        """Returns the levels of a model, replaced by those that are given.

        Args:
            model: name or folder; a model that was made from one that comes with atv is pruned like that one.
            sparsities: sparsities of the curve and of comparisons; in a list, or separated by commas.
            patterns: likewise; "none" for none.

        Raises:
            ValueError: for a sparsity outside (0, 1), or a pattern that is not N:M.
        """
        levels = SUITED.get(own_model(model), PAPER)
        if sparsities is not None:
            shares = read_sparsities(sparsities)
            levels = replace(levels, curve=shares, compared=shares)
        if patterns is not None:
            levels = replace(levels, patterns=read_patterns(patterns))
        return levels

    @property
    def mild(self) -> float:
        """The third hardest compared sparsity, or the mildest if there are fewer."""
        return self._from_the_hardest(3)

    @property
    def middle(self) -> float:
        """The second hardest compared sparsity, or the only one."""
        return self._from_the_hardest(2)

    @property
    def hard(self) -> float:
        """The hardest compared sparsity."""
        return self._from_the_hardest(1)

    def _from_the_hardest(self, rank: int) -> float:
        return self.compared[-min(rank, len(self.compared))]

    @property
    def mild_and_hard(self) -> tuple[float, ...]:
        """``mild`` and ``hard``, without repetition."""
        return tuple(dict.fromkeys((self.mild, self.hard)))

    @property
    def middle_and_hard(self) -> tuple[float, ...]:
        """``middle`` and ``hard``, without repetition."""
        return tuple(dict.fromkeys((self.middle, self.hard)))

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Compared sparsities and patterns, as tables call them -> the option of a pathway that sets it."""
        return self.settings_at(self.compared)

    def settings_at(self, sparsities: Sequence[float]) -> dict[str, dict[str, Any]]:
        """Returns ``settings`` with these sparsities instead of the compared ones."""
        by_sparsity: dict[str, dict[str, Any]] = {percent(share): {"sparsity": share} for share in sparsities}
        return by_sparsity | {pattern: {"pattern": pattern} for pattern in self.patterns}

    def papers_and_own(self, paper: float, own: float) -> tuple[float, ...]:
        """Returns where a claim is made: the paper's sparsity and one of the model's own, without repetition.

        A sparsity at which the model is not pruned is left out.
        """
        return tuple(dict.fromkeys(level for level in (paper, own) if level in self.curve))

    def nearest(self, paper: float) -> float:
        """Returns the paper's sparsity if the model is pruned at it, else the nearest, the milder one if two are."""
        return min(self.curve, key=lambda level: (abs(level - paper), level))

    def bundled_note(self, text: str) -> str:
        """Returns a finding's note that is about the bundled model only; empty for other models."""
        return text if self.model == BUNDLED else ""

    def require_own_scenes(self, ablation: str) -> None:
        """Rejects a model whose training scenes are not available, for an ablation that calibrates on them.

        Raises:
            UnsuitedModel: naming the ablation and the models whose scenes are available.
        """
        if self.model not in SUITED:
            raise UnsuitedModel(
                f"model: {ablation} calibrates on scenes that a model was trained on, which are available for "
                f"{' and '.join(map(repr, SUITED))}, and for models made from them"
            )

    def record(self) -> dict[str, Any]:
        """Returns the options that replace what suits the model, as a command line takes them; None if not given."""
        default = SUITED.get(self.model, PAPER)
        is_default = self.compared == default.compared and self.curve == default.curve
        return {
            "sparsities": None if is_default else option_text(self.compared),
            "patterns": None if self.patterns == default.patterns else option_text(self.patterns),
        }


# Two of the paper's tables compare methods at 50% and 60%.
PAPER = Levels("", curve=(0.5, 0.6, 0.7), compared=(0.5, 0.6))
SUITED = {
    BUNDLED: Levels(BUNDLED, curve=(0.3, 0.5, 0.6, 0.7, 0.8, 0.9), compared=(0.5, 0.6, 0.7)),
    # 50% hurts 135 M parameters more than 8 B: the levels at which Wanda keeps 70 to 99%, and the paper's 50%.
    EVERYDAY: Levels(
        EVERYDAY, curve=(0.2, 0.3, 0.4, 0.5), compared=(0.2, 0.3, 0.4, 0.5), patterns=("2:4", "4:8", "6:8")
    ),
}


def percent(sparsity: float) -> str:
    """Returns a sparsity as tables call it.

    >>> percent(0.5), percent(0.125)
    ('50%', '12.5%')
    """
    return f"{100 * sparsity:g}%"
