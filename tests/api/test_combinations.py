"""Every permitted combination of selection, criterion, pattern and allocation prunes."""

import itertools

import pytest
import torch
from helpers.moe import moe_llava

import atv


class EvenColumns(atv.Pattern):
    """A pattern of someone's own: of every pair of columns the second goes."""

    sparsity = 0.5

    def mask(self, score, sparsity):
        return torch.arange(score.shape[1], device=score.device).expand_as(score) % 2 == 0


class LaterMore(atv.Allocation):
    """An allocation of someone's own: the last block loses more, the first less."""

    by_block = True

    def allocate(self, linears, sparsity, dense):
        return {name: sparsity + 0.1 * (dense.block_of[name] - 1) for name in linears}


RULES = ("AllTokens", "TextOnly", "VisualOnly", "RandomVisual", "DriftTopK", "AttentionTopK", "DiversityTopK", "AMIA")
RULES += ("WeightedPools",)
SELECTIONS = {rule: getattr(atv, rule) for rule in RULES} | {"TextFraction": lambda: atv.TextFraction(0.6)}
CRITERIA = {name: getattr(atv, name) for name in ("Magnitude", "Wanda", "RIA", "SparseGPT", "ADMM", "ALPS")}
CRITERIA |= {"WandaPlusPlus": atv.WandaPlusPlus}
PATTERNS = {
    "Unstructured": atv.Unstructured,
    "PerLayer": atv.PerLayer,
    "PerBlock": atv.PerBlock,
    "2:4": lambda: atv.NOfM(2, 4),
    "5:8": lambda: atv.NOfM(5, 8),
    "own": EvenColumns,
}
ALLOCATIONS = {name: getattr(atv, name) for name in ("Uniform", "OWL", "DLP", "DAS", "ECoFLaP", "AlphaPruning")}
ALLOCATIONS |= {"ByKind": lambda: atv.ByKind({"*_attn.*": 0.4}), "own": LaterMore}
FACTORS = (SELECTIONS, CRITERIA, PATTERNS, ALLOCATIONS)


def permitted(combination):
    """The issue's rules, not the code's: a fixed pattern takes Uniform alone, a joint one what goes by block."""
    _, _, pattern, allocation = combination
    if pattern in ("2:4", "5:8", "own"):
        return allocation == "Uniform"
    return pattern != "PerBlock" or allocation in ("Uniform", "OWL", "DLP", "AlphaPruning", "own")


ALL = [combination for combination in itertools.product(*FACTORS) if permitted(combination)]


def meeting(combination):
    """The choices, numbered, that meet in one step: scores and their pattern, that and its shares."""
    selection, criterion, pattern, allocation = enumerate(combination)
    return {(selection,), (criterion, pattern), (pattern, allocation)}


def covering(combinations):
    """Greedily, few combinations that hold all that meets in any of them."""
    held = {combination: meeting(combination) for combination in combinations}
    left, chosen = set().union(*held.values()), []
    while left:
        chosen.append(max(combinations, key=lambda combination: len(held[combination] & left)))
        left -= held[chosen[-1]]
    return chosen


FEW = covering(ALL)


def check(combination, llava, batches):
    parts = dict(zip(("selection", "criterion", "pattern", "allocation"), combination, strict=True))
    given = {part: choices[parts[part]]() for part, choices in zip(parts, FACTORS, strict=True)}
    before = {name: tensor.clone() for name, tensor in llava.state_dict().items()}
    # A forward for every Linear and batch, twice: one sample is enough to prune by.
    report = atv.prune(llava, batches[1:2] if parts["allocation"] == "ECoFLaP" else batches, **given)
    target = given["pattern"].sparsity or 0.5
    entries = sum(mask.numel() for mask in report.masks.values())
    rows = sum(mask.shape[0] for mask in report.masks.values())
    assert 0 <= target * entries - report.masks.pruned <= rows
    for name, tensor in llava.state_dict().items():
        mask = report.masks.get(name.removesuffix(".weight"))
        assert tensor.isfinite().all()
        if mask is None:
            assert torch.equal(tensor, before[name])
        elif parts["criterion"] in ("SparseGPT", "ADMM", "ALPS"):
            assert not tensor[~mask].any() and not torch.equal(tensor[mask], before[name][mask])
        else:
            assert torch.equal(tensor, before[name] * mask)
        if mask is not None and ":" in parts["pattern"]:
            n, m = map(int, parts["pattern"].split(":"))
            assert (mask.unflatten(1, (-1, m)).sum(-1) == n).all()


@pytest.mark.parametrize("combination", FEW, ids="-".join)
def test_all_that_meets_prunes(combination, llava, batches):
    check(combination, llava, batches)


@pytest.mark.slow
@pytest.mark.parametrize("combination", [one for one in ALL if one not in FEW], ids="-".join)
def test_every_permitted_combination_prunes(combination, llava, batches):
    check(combination, llava, batches)


def test_all_others_are_refused(llava, batches):
    refused = [one for one in itertools.product(*FACTORS) if not permitted(one)]
    for _, _, pattern, allocation in {(None, None, *one[2:]) for one in refused}:
        with pytest.raises(ValueError, match="allocation: "):
            atv.prune(llava, batches, pattern=PATTERNS[pattern](), allocation=ALLOCATIONS[allocation]())


@pytest.mark.parametrize(
    ("part", "choice"),
    [
        ("selection", "AMIA"),
        ("selection", "TokenSensitivity"),
        ("criterion", "SparseGPT"),
        ("criterion", "WandaPlusPlus"),
        ("allocation", "OWL"),
        ("allocation", "DAS"),
    ],
)
def test_what_knows_linears_alone_is_refused_where_there_are_experts(part, choice, batches):
    model = moe_llava("qwen3_moe")
    with pytest.raises(ValueError, match=rf"{part}: {choice} supports only Linears, but .* is an expert"):
        atv.prune(model, batches, **{part: choice})
    assert atv.prune(model, batches, **{part: choice}, targets=["*_attn.*"]).sparsity == pytest.approx(0.5, abs=0.03)


@pytest.mark.filterwarnings("ignore:block .* fewer than")
def test_all_else_prunes_experts(batches):
    report = atv.prune(
        moe_llava("qwen3_moe"),
        batches,
        selection=atv.TextFraction(0.8, atv.AttentionTopK()),
        criterion="RIA",
        pattern="PerBlock",
    )
    assert report.sparsity == pytest.approx(0.5, abs=1e-3)
