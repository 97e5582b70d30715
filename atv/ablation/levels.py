"""How hard ablations prune a model: sparsities and patterns at which it still answers, and no longer answers all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from atv.ablation.level_options import read_patterns, read_sparsities, written
from atv.bundled import BUNDLED
from atv.data.sources import own_model
from atv.everyday.assembly.made_folder import EVERYDAY


class UnsuitedModel(ValueError):
    """An ablation that is for other models than the one at hand."""


@dataclass(frozen=True)
class Levels:
    """Sparsities (shares of the weights that go, from mild to hard) and N:M patterns that suit a model.

    Attributes:
        model: whom they suit: "bundled", "everyday", or "" for any other.
        curve: sparsities of one pathway alone, which may lose more than the whole decoder; all of ``compared`` among
            them.
        compared: sparsities of the whole decoder, at which methods are compared.
        patterns: N:M patterns, at which methods are compared, too.
    """

    model: str
    curve: tuple[float, ...]
    compared: tuple[float, ...]
    patterns: tuple[str, ...] = ("2:4", "4:8")

    @classmethod
    def suited(
        cls, model: str, sparsities: Sequence[float] | str | None = None, patterns: Sequence[str] | str | None = None
    ) -> "Levels":
        """Those of a model, or what is asked for in their place.

        Args:
            model: by name or folder; one that was made from a model that comes with atv is pruned as that one is.
            sparsities: of the curve and of comparisons; in a list, or with commas between them.
            patterns: likewise; "none" for none.

        Raises:
            ValueError: for a sparsity outside of (0, 1), or a pattern that is not N:M.
        """
        own = SUITED.get(own_model(model), PAPER)
        if sparsities is not None:
            asked = read_sparsities(sparsities)
            own = replace(own, curve=asked, compared=asked)
        if patterns is not None:
            own = replace(own, patterns=read_patterns(patterns))
        return own

    @property
    def mild(self) -> float:
        """The third hardest compared, or the mildest of fewer."""
        return self._from_the_hardest(3)

    @property
    def middle(self) -> float:
        """The second hardest compared, or the only one."""
        return self._from_the_hardest(2)

    @property
    def hard(self) -> float:
        """The hardest compared."""
        return self._from_the_hardest(1)

    def _from_the_hardest(self, place: int) -> float:
        return self.compared[-min(place, len(self.compared))]

    @property
    def mild_and_hard(self) -> tuple[float, ...]:
        """``mild`` and ``hard``, each once."""
        return tuple(dict.fromkeys((self.mild, self.hard)))

    @property
    def middle_and_hard(self) -> tuple[float, ...]:
        """``middle`` and ``hard``, each once."""
        return tuple(dict.fromkeys((self.middle, self.hard)))

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Each compared sparsity and pattern as tables call it, with the option of a pathway that asks for it."""
        return self.settings_at(self.compared)

    def settings_at(self, sparsities: Sequence[float]) -> dict[str, dict[str, Any]]:
        """``settings`` with these sparsities in place of all compared ones."""
        shares: dict[str, dict[str, Any]] = {percent(share): {"sparsity": share} for share in sparsities}
        return shares | {pattern: {"pattern": pattern} for pattern in self.patterns}

    def papers_and_own(self, paper: float, own: float) -> tuple[float, ...]:
        """Where a claim is made: at the paper's sparsity, if the model is pruned so, and at one of its own, each
        once."""
        return tuple(dict.fromkeys(level for level in (paper, own) if level in self.curve))

    def nearest(self, paper: float) -> float:
        """The paper's sparsity, if the model is pruned so, else the nearest, the milder of two."""
        return min(self.curve, key=lambda level: (abs(level - paper), level))

    def bundled_note(self, text: str) -> str:
        """What a finding says of the bundled model alone; empty for others."""
        return text if self.model == BUNDLED else ""

    def require_own_scenes(self, ablation: str) -> None:
        """Refuses a model whose training scenes are not at hand, for an ablation that takes them.

        Raises:
            UnsuitedModel: naming the ablation and the models that have some.
        """
        if self.model not in SUITED:
            raise UnsuitedModel(
                f"model: {ablation} calibrates on scenes that a model was trained on, which are at hand for "
                f"{' and '.join(map(repr, SUITED))}, and for what was made from them"
            )

    def record(self) -> dict[str, Any]:
        """The options that were given in place of what suits the model, as a command line takes them."""
        own = SUITED.get(self.model, PAPER)
        suited = self.compared == own.compared and self.curve == own.curve
        return {
            "sparsities": None if suited else written(self.compared),
            "patterns": None if self.patterns == own.patterns else written(self.patterns),
        }


# Two tables compare methods at 50% and 60%.
PAPER = Levels("", curve=(0.5, 0.6, 0.7), compared=(0.5, 0.6))
SUITED = {
    BUNDLED: Levels(BUNDLED, curve=(0.3, 0.5, 0.6, 0.7, 0.8, 0.9), compared=(0.5, 0.6, 0.7)),
    # 135 M parameters feel 50% more than 8 B do: where Wanda keeps 70 to 99%, and the paper's 50%.
    EVERYDAY: Levels(
        EVERYDAY, curve=(0.2, 0.3, 0.4, 0.5), compared=(0.2, 0.3, 0.4, 0.5), patterns=("2:4", "4:8", "6:8")
    ),
}


def percent(sparsity: float) -> str:
    """As tables call it.

    >>> percent(0.5), percent(0.125)
    ('50%', '12.5%')
    """
    return f"{100 * sparsity:g}%"
