"""How hard ablations prune a model: sparsities and patterns at which it still answers, and no longer answers all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from atv.bundled import BUNDLED
from atv.data.sources import own_model
from atv.everyday.assembly.made_folder import EVERYDAY
from atv.patterns import NOfM


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
            asked = tuple(sorted({_sparsity(each) for each in _listed(sparsities, "sparsities")}))
            own = replace(own, curve=asked, compared=asked)
        if patterns is not None:
            named = [] if patterns in (NO_PATTERNS, [NO_PATTERNS]) else _listed(patterns, "patterns")
            own = replace(own, patterns=tuple(_pattern(each) for each in dict.fromkeys(named)))
        return own

    @property
    def mild(self) -> float:
        """The first of the three hardest compared."""
        return self.compared[-3:][0]

    @property
    def middle(self) -> float:
        """The last but one compared."""
        return self.compared[-2:][0]

    @property
    def hard(self) -> float:
        """The last compared."""
        return self.compared[-1]

    @property
    def ends(self) -> tuple[float, ...]:
        """``mild`` and ``hard``, each once."""
        return tuple(dict.fromkeys((self.mild, self.hard)))

    @property
    def hardest(self) -> tuple[float, ...]:
        """``middle`` and ``hard``, each once."""
        return self.compared[-2:]

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Each compared sparsity and pattern as tables call it, with the option of a pathway that asks for it."""
        shares: dict[str, dict[str, Any]] = {percent(share): {"sparsity": share} for share in self.compared}
        return shares | {pattern: {"pattern": pattern} for pattern in self.patterns}

    def asked(self, paper: float, own: float) -> tuple[float, ...]:
        """Where a claim is made: at the paper's sparsity, if the model is pruned so, and at one of its own."""
        return tuple(dict.fromkeys(level for level in (paper, own) if level in self.curve))

    def nearest(self, paper: float) -> float:
        """The paper's sparsity, if the model is pruned so, else the nearest, the milder of two."""
        return min(self.curve, key=lambda level: (abs(level - paper), level))

    def note(self, text: str) -> str:
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
        sparsities = None if self.compared == own.compared and self.curve == own.curve else self.compared
        patterns = None if self.patterns == own.patterns else self.patterns
        return {"sparsities": _joined(sparsities), "patterns": _joined(patterns)}


# What stands for no N:M pattern.
NO_PATTERNS = "none"
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


def _listed(given: Sequence[Any] | str, option: str) -> list[Any]:
    # A list of patterns without quotes, [2:4,4:8], comes as text.
    found = list(given) if isinstance(given, (list, tuple)) else str(given).strip("[]").split(",")
    if not found:
        raise ValueError(f"{option}: expected at least one, got none")
    return found


def _sparsity(given: Any) -> float:
    try:
        found = float(given)
    except (TypeError, ValueError):
        found = float("nan")
    if not 0 < found < 1:
        raise ValueError(f"sparsities: expected shares above 0 and below 1, such as 0.2,0.3; got {given!r}")
    return found


def _pattern(given: Any) -> str:
    try:
        NOfM.parse(str(given).strip())
    except ValueError as error:
        raise ValueError(f"patterns: {given!r} is not N:M such as 2:4 ({error})") from error
    return str(given).strip()


def _joined(given: Sequence[Any] | None) -> str | None:
    return None if given is None else ",".join(map(str, given)) or NO_PATTERNS
