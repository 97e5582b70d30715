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
_ANSWERS: Mapping[Verdict, str] = {
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
        finding = self.first or self.second
        assert finding is not None
        return finding

    @property
    def other_share(self) -> str:
        """The share of weights in the second model's claim, such as 50%, if it differs from the first's; else "".

        Several shares are in the claim's order, such as 30% and 50%.
        """
        if self.first is None or self.second is None:
            return ""
        first_shares, second_shares = (_shares(finding.claim) for finding in (self.first, self.second))
        return "" if first_shares == second_shares else " and ".join(f"{share:g}%" for share in second_shares)

    @property
    def carried(self) -> Carried:
        """Whether both models' verdicts say the same; open if either of them is undecided."""
        if self.first is None or self.second is None:
            return "one model alone"
        answers = [_ANSWERS.get(finding.verdict) for finding in (self.first, self.second)]
        if None in answers:
            return "open"
        return "carried over" if answers[0] == answers[1] else "not carried over"


def pairs(first: Collection, second: Collection | None = None) -> list[Pair]:
    """Returns all findings of both models as pairs, ablation by ablation, in the first model's order.

    Findings that only the second model has come last in their ablation; ablations that only it has, at the end.

    Two findings are paired if they make the same claim; findings of different ablations also if they compare the same
    cells. The share of weights that is pruned may differ, because models are pruned at levels that suit them: then the
    hardest share on one model is paired with the hardest on the other, and so on downwards. N:M patterns are paired
    with themselves.
    """
    second_sections = {section.name: section for section in second.sections} if second else {}
    ranked_pairs: list[tuple[int, Pair]] = []
    for section in first.sections:
        second_section = second_sections.pop(section.name, None)
        first_findings, second_findings = (
            _by_claim_and_rank(section.findings),
            _by_claim_and_rank(second_section.findings if second_section else ()),
        )
        keys = [*first_findings, *(key for key in second_findings if key not in first_findings)]
        ranked_pairs += [
            (key[1], Pair(section.name, section.run["question"], first_findings.get(key), second_findings.get(key)))
            for key in keys
        ]
    for section in second_sections.values():
        for (_, rank), finding in _by_claim_and_rank(section.findings).items():
            ranked_pairs.append((rank, Pair(section.name, section.run["question"], None, finding)))
    return _across_ablations(ranked_pairs)


def _across_ablations(ranked_pairs: Sequence[tuple[int, Pair]]) -> list[Pair]:
    """Joins pairs of one model alone that compare the same cells, or claim the same, at shares of the same rank."""
    for key_of in (_comparison_key, _claim_key):
        ranked_pairs = _joined(ranked_pairs, key_of)
    return [pair for _, pair in ranked_pairs]


def _joined(
    ranked_pairs: Sequence[tuple[int, Pair]], key_of: Callable[[Pair, int], Hashable | None]
) -> list[tuple[int, Pair]]:
    """Joins pairs that only the first model has with ``alike`` ones that only the second has, in the first's place."""
    unpaired = {key_of(pair, rank): pair for rank, pair in ranked_pairs if pair.second is None and key_of(pair, rank)}
    joined: dict[int, Pair | None] = {}
    for rank, pair in ranked_pairs:
        if pair.first is None and (partner := unpaired.pop(key_of(pair, rank), None)):
            joined[id(partner)] = replace(partner, second=pair.second)
            joined[id(pair)] = None
    remaining = ((rank, joined.get(id(pair), pair)) for rank, pair in ranked_pairs)
    return [(rank, pair) for rank, pair in remaining if pair is not None]


def _comparison_key(pair: Pair, rank: int) -> Hashable | None:
    """Returns what a finding compares: cells without their shares, unit, bound, and how many shares are harder.

    None if the finding rests on no cell.
    """
    finding = pair.finding
    cells = tuple(_SHARE.sub("#", run) for run in finding.ours.runs)
    return (cells, finding.unit, finding.bound, rank) if cells else None


def _claim_key(pair: Pair, rank: int) -> Hashable:
    """Returns the claim without its shares, its unit and bound, and how many shares of the claim are harder."""
    finding = pair.finding
    return _SHARE.sub("#", finding.claim), finding.unit, finding.bound, rank


def carried_counts(found_pairs: Sequence[Pair]) -> dict[Carried, int]:
    """Returns outcome -> number of pairs that have it."""
    return {outcome: sum(pair.carried == outcome for pair in found_pairs) for outcome in get_args(Carried)}


def _by_claim_and_rank(findings: Sequence[Finding]) -> dict[tuple[str, int], Finding]:
    """Returns (claim without its shares, number of harder findings with this claim) -> finding, in the given order.

    The first share counts before the second, and so on; of equal ones, the earlier finding counts as the harder one.
    """
    indices_by_claim: dict[str, list[int]] = defaultdict(list)
    for index, finding in enumerate(findings):
        indices_by_claim[_SHARE.sub("#", finding.claim)].append(index)
    keys: dict[int, tuple[str, int]] = {}
    for claim, indices in indices_by_claim.items():
        hardest = sorted(indices, key=lambda index: _shares(findings[index].claim), reverse=True)
        keys |= {index: (claim, rank) for rank, index in enumerate(hardest)}
    return {keys[index]: finding for index, finding in enumerate(findings)}


def _shares(claim: str) -> list[float]:
    return [float(share) for share in _SHARE.findall(claim)]


def pruned_share(claim: str) -> float:
    """Returns the first share of the weights that a claim mentions, in percent; 0 if it mentions none.

    >>> pruned_share("It permits 50% sparsity: it keeps more than 98%."), pruned_share("Text is one tight cluster.")
    (50.0, 0.0)
    """
    return next(iter(_shares(claim)), 0.0)
