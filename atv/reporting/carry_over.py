"""Pairs the findings of two models and tells which of them carry over from one model to the other."""

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from atv.ablation.findings import Finding, Verdict
from atv.reporting.collection import Collection

Carried = Literal["carried over", "not carried over", "open", "one model alone"]
# A share of the weights in a claim, such as 60%; a number that the claim exceeds ("more than 98%") does not count.
_SHARE = re.compile(r"(?<!than )(?<![\d.])(\d+(?:\.\d+)?)%")
# What a verdict says about a claim, regardless of whether the paper makes that claim.
_SAID: Mapping[Verdict, str] = {
    "reproduced": "yes",
    "holds": "yes",
    "not reproduced": "no",
    "does not hold": "no",
    "practically equal": "equal",
}


@dataclass(frozen=True)
class Pair:
    """A finding on each of two models; None for a model that does not have it.

    Attributes:
        ablation: name of the ablation; the first model's, if the two findings are from different ablations.
        question: the question of that ablation.
    """

    ablation: str
    question: str
    first: Finding | None
    second: Finding | None = None

    @property
    def finding(self) -> Finding:
        """The first model's finding, or the second's if the first has none."""
        found = self.first or self.second
        assert found is not None
        return found

    @property
    def other_share(self) -> str:
        """The share of weights in the second model's claim, such as 50%, if it differs from the first's; else "".

        Several shares are in the claim's order, such as 30% and 50%.
        """
        if self.first is None or self.second is None:
            return ""
        first, second = (_shares(finding.claim) for finding in (self.first, self.second))
        return "" if first == second else " and ".join(f"{share:g}%" for share in second)

    @property
    def carried(self) -> Carried:
        """Whether both models' verdicts say the same; open if either of them is undecided."""
        if self.first is None or self.second is None:
            return "one model alone"
        said = [_SAID.get(finding.verdict) for finding in (self.first, self.second)]
        if None in said:
            return "open"
        return "carried over" if said[0] == said[1] else "not carried over"


def pairs(first: Collection, second: Collection | None = None) -> list[Pair]:
    """Returns all findings of both models as pairs, ablation by ablation, in the first model's order.

    Findings that only the second model has come last in their ablation; ablations that only it has, at the end.

    Two findings are paired if they make the same claim; findings of different ablations also if they compare the same
    cells. The share of weights that is pruned may differ, because models are pruned at levels that suit them: then the
    hardest share on one model is paired with the hardest on the other, and so on downwards. N:M patterns are paired
    with themselves.
    """
    beside = {section.name: section for section in second.sections} if second else {}
    made: list[tuple[int, Pair]] = []
    for section in first.sections:
        other = beside.pop(section.name, None)
        own, others = _keyed(section.findings), _keyed(other.findings if other else ())
        keys = [*own, *(key for key in others if key not in own)]
        made += [(key[1], Pair(section.name, section.run["question"], own.get(key), others.get(key))) for key in keys]
    for section in beside.values():
        for (_, rank), finding in _keyed(section.findings).items():
            made.append((rank, Pair(section.name, section.run["question"], None, finding)))
    return _across_ablations(made)


def _across_ablations(made: Sequence[tuple[int, Pair]]) -> list[Pair]:
    """Joins pairs of one model alone that compare the same cells, or claim the same, at shares of the same rank."""
    for alike in (_compared, _claimed):
        made = _joined(made, alike)
    return [pair for _, pair in made]


def _joined(made: Sequence[tuple[int, Pair]], alike: Callable[[Pair, int], Hashable | None]) -> list[tuple[int, Pair]]:
    """Joins pairs that only the first model has with ``alike`` ones that only the second has, in the first's place."""
    lonely = {alike(pair, rank): pair for rank, pair in made if pair.second is None and alike(pair, rank)}
    joined: dict[int, Pair | None] = {}
    for rank, pair in made:
        if pair.first is None and (mate := lonely.pop(alike(pair, rank), None)):
            joined[id(mate)] = replace(mate, second=pair.second)
            joined[id(pair)] = None
    found = ((rank, joined.get(id(pair), pair)) for rank, pair in made)
    return [(rank, pair) for rank, pair in found if pair is not None]


def _compared(pair: Pair, rank: int) -> Hashable | None:
    """Returns what a finding compares: cells without their shares, unit, bound, and how many shares are harder.

    None if the finding rests on no cell.
    """
    finding = pair.finding
    cells = tuple(_SHARE.sub("#", run) for run in finding.ours.runs)
    return (cells, finding.unit, finding.bound, rank) if cells else None


def _claimed(pair: Pair, rank: int) -> Hashable:
    """Returns the claim without its shares, its unit and bound, and how many shares of the claim are harder."""
    finding = pair.finding
    return _SHARE.sub("#", finding.claim), finding.unit, finding.bound, rank


def counted(found: Sequence[Pair]) -> dict[Carried, int]:
    """Returns outcome -> number of pairs that have it."""
    return {word: sum(pair.carried == word for pair in found) for word in get_args(Carried)}


def _keyed(findings: Sequence[Finding]) -> dict[tuple[str, int], Finding]:
    """Returns (claim without its shares, number of harder findings with this claim) -> finding, in the given order.

    The first share counts before the second, and so on; of equal ones, the earlier finding counts as the harder one.
    """
    alike: dict[str, list[int]] = defaultdict(list)
    for place, finding in enumerate(findings):
        alike[_SHARE.sub("#", finding.claim)].append(place)
    keys: dict[int, tuple[str, int]] = {}
    for claim, places in alike.items():
        hardest = sorted(places, key=lambda place: _shares(findings[place].claim), reverse=True)
        keys |= {place: (claim, rank) for rank, place in enumerate(hardest)}
    return {keys[place]: finding for place, finding in enumerate(findings)}


def _shares(claim: str) -> list[float]:
    return [float(share) for share in _SHARE.findall(claim)]


def pruned_share(claim: str) -> float:
    """Returns the first share of the weights that a claim mentions, in percent; 0 if it mentions none.

    >>> pruned_share("It permits 50% sparsity: it keeps more than 98%."), pruned_share("Text is one tight cluster.")
    (50.0, 0.0)
    """
    return next(iter(_shares(claim)), 0.0)
