"""What follows a criterion, in whole runs: with every pattern, pool and criterion, resumed, and refused by name."""

import copy
import json

import pytest
import torch
from helpers.moe import moe_llava
from helpers.tiny import EvenColumns, never_read

import atv
from atv.cli import parser
from atv.commands.before_parsing import load_plugins
from atv.plugins import ContractError

STEPS = [("SparseSwaps", None), ("DSnoT", None), (None, "LeastSquares"), ("SparseSwaps", "LeastSquares")]
PATTERNS = {"unstructured": "unstructured", "PerLayer": "PerLayer", "PerBlock": "PerBlock", "2:4": "2:4"}


class Noted(atv.Criterion):
    """Wanda; keeps the statistics of every Linear."""

    needs_gram = True
    seen: dict = {}

    def score(self, weight, pool):
        return weight.float().abs() * pool.norm

    def prune(self, weight, pool, pattern, sparsity, mask=None):
        made = super().prune(weight, pool, pattern, sparsity, mask)
        Noted.seen[weight.data_ptr()] = (weight.clone(), pool.gram, made.mask)
        return made

    updates_weights = False


def lost(weight, updated, gram):
    difference = (weight - updated).double()
    return ((difference @ gram) * difference).sum(1)


@pytest.mark.parametrize("steps", STEPS, ids=lambda steps: "-".join(map(str, steps)))
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_step_follows_every_pattern(llava, batches, pattern, steps):
    Noted.seen = {}
    names = {module.weight.data_ptr(): name for name, module in llava.named_modules() if hasattr(module, "weight")}
    report = atv.prune(
        llava, batches, criterion=Noted(), pattern=pattern, refine=steps[0], reconstruct=steps[1], propagate=False
    )
    assert len(Noted.seen) == len(report.masks) == 21
    moved = changed = 0
    for pointer, (weight, gram, mask) in Noted.seen.items():
        kept, now = report.masks[names[pointer]], llava.get_submodule(names[pointer]).weight.detach()
        assert torch.equal(kept.sum(1), mask.sum(1)) and not now[~kept].any()
        if pattern == "2:4":
            assert (kept.unflatten(1, (-1, 4)).sum(-1) == 2).all()
        moved, changed = moved + int((kept != mask).sum()), changed + int((now[kept] != weight[kept]).sum())
        if steps != ("DSnoT", None):
            ridge = 0.01 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype) if steps[1] else 0
            before, after = (lost(weight, w, gram + ridge) for w in (weight * mask, now))
            assert (after <= before * (1 + 1e-5)).all()
    assert (moved > 0) == (steps[0] is not None) and (changed > 0) == (steps[1] is not None)
    assert report.updates_weights == (steps[1] is not None)
    seconds = report.blocks[0].step_seconds["both"]
    assert seconds.keys() == {"criterion", *(("refine",) * (steps[0] is not None))} | (
        {"reconstruct"} if steps[1] else set()
    )
    assert 0 < sum(seconds.values()) < report.blocks[0].seconds


def test_several_refinements_go_in_order_and_each_tells_its_seconds_and_error(llava, batches):
    Noted.seen, before = {}, copy.deepcopy(llava)
    steps = ["DSnoT", atv.SparseSwaps(3)]
    report = atv.prune(llava, batches, criterion=Noted(), refine=steps, reconstruct="LeastSquares", propagate=False)
    block = report.blocks[0]
    told = ["criterion", "refine 1", "refine 2", "reconstruct"]
    assert list(block.step_seconds["both"]) == list(block.step_errors["both"]) == told
    names = [name for name in report.masks if ".layers.0." in name]
    share = dict.fromkeys(told, 0.0)
    for name in names:
        pointer = llava.get_submodule(name).weight.data_ptr()
        weight, gram, mask = Noted.seen[pointer]
        # Wanda's mask and what SparseSwaps makes of another are told apart by the pool's own X^T X.
        whole = float(lost(weight, torch.zeros_like(weight), gram).sum())
        after = {"criterion": weight * mask, "reconstruct": llava.get_submodule(name).weight.detach()}
        after["refine 2"] = before.get_submodule(name).weight.detach() * report.masks[name]
        for step, updated in after.items():
            share[step] += float(lost(weight, updated, gram).sum()) / whole / len(names)
    for step in ("criterion", "refine 2", "reconstruct"):
        assert block.step_errors["both"][step] == pytest.approx(share[step], rel=1e-4)
    errors = block.step_errors["both"]
    assert errors["refine 1"] > errors["refine 2"] > errors["reconstruct"]
    assert "step_errors" in report.as_dict()["blocks"][0]
    plan = report.plans["both"]["refine"]
    assert [step["class"] for step in plan] == ["DSnoT", "SparseSwaps"] and plan[1]["swaps"] == 3
    with_one = atv.prune(before, batches, criterion=Noted(), refine=steps[1:], propagate=False)
    assert with_one.plans["both"]["refine"]["class"] == "SparseSwaps"
    assert any(not torch.equal(with_one.masks[name], report.masks[name]) for name in report.masks)


def test_errors_are_told_only_where_they_are_known(llava, batches):
    report = atv.prune(llava, batches, refine="DSnoT")
    assert report.blocks[0].step_errors == {} and "step_errors" not in report.as_dict()["blocks"][0]


@pytest.mark.parametrize(
    "selection",
    ["TextOnly", "AMIA", atv.WeightedPools(picks=atv.DriftTopK(2.0))],
    ids=["TextOnly", "AMIA", "WeightedPools"],
)
def test_after_sparsegpt_on_any_pool(llava, batches, selection):
    before = copy.deepcopy(llava)
    options = {"selection": selection, "criterion": "SparseGPT", "refine": "DSnoT", "reconstruct": "LeastSquares"}
    report = atv.prune(llava, batches, **options)
    for name, mask in report.masks.items():
        weight, dense = llava.get_submodule(name).weight, before.get_submodule(name).weight
        assert not weight[~mask].any() and not torch.equal(weight[mask], dense[mask])


def test_a_killed_run_goes_on_with_its_steps(llava, batches, tmp_path):
    options = {"refine": "SparseSwaps", "reconstruct": atv.LeastSquares(0.1), "run_dir": tmp_path}
    again = copy.deepcopy(llava)
    atv.prune(llava, batches, **options)
    (tmp_path / "blocks" / "002.json").unlink()
    report = atv.prune(again, batches, **options)
    for name, tensor in llava.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    plan = json.loads((tmp_path / "report.json").read_text())["settings"]["plans"]["both"]
    assert plan["refine"] == {"class": "SparseSwaps", "swaps": 100, "candidates": 8}
    assert plan["reconstruct"] == {"class": "LeastSquares", "damping": 0.1, "tolerance": 1e-4, "iterations": 200}
    assert report.updates_weights
    with pytest.raises(ValueError, match="holds another run"):
        atv.prune(again, batches, refine="SparseSwaps", run_dir=tmp_path)


def test_pathways_have_steps_of_their_own(llava, batches):
    text = atv.Pathway("TextOnly", refine="SparseSwaps")
    visual = atv.Pathway("VisualOnly", reconstruct="LeastSquares")
    report = atv.decouple(llava, batches, text=text, visual=visual)
    assert report.blocks[0].step_seconds["text"].keys() == {"criterion", "refine"}
    assert report.blocks[0].step_seconds["visual"].keys() == {"criterion", "reconstruct"}


class OneMore(atv.Refinement):
    """Keeps a weight more."""

    def refine(self, weight, mask, pool, width):
        return mask | (torch.arange(mask.shape[1]) == 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refine": "SparseSwap"}, "unknown Refinement 'SparseSwap'; did you mean 'SparseSwaps'"),
        ({"refine": ["DSnoT", "SparseSwap"]}, "unknown Refinement 'SparseSwap'; did you mean 'SparseSwaps'"),
        ({"reconstruct": "SparseSwaps"}, "unknown Reconstruction 'SparseSwaps'"),
        (
            {"refine": "SparseSwaps", "criterion": "SparseGPT"},
            "refine: SparseSwaps moves zeros, but SparseGPT updates kept weights .* such as LeastSquares",
        ),
        (
            {"refine": "SparseSwaps", "pattern": EvenColumns()},
            r"refine: SparseSwaps moves zeros, but the pattern EvenColumns does not say where they may go",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_a_sample_is_read(llava, options, message):
    with pytest.raises(ValueError, match=message):
        atv.prune(llava, never_read(), **options)


def test_a_refinement_that_changes_counts_is_named(llava, batches):
    with pytest.raises(ValueError, match="refine: OneMore changed how many weights a row or group keeps"):
        atv.prune(llava, batches, refine=OneMore())


class NotANumber(atv.Reconstruction):
    """NaN for every weight of one Linear that stays."""

    def reconstruct(self, weight, mask, pool):
        return torch.full(weight.shape, torch.nan) if len(weight) == 48 else weight.float()


def test_weights_that_are_not_finite_are_refused_with_step_and_linear(llava, batches):
    message = r"reconstruct: NotANumber returned weights that are not finite \(.*layers\.0\.mlp\.(gate|up)_proj\)"
    with pytest.raises(ContractError, match=message):
        atv.prune(llava, batches, reconstruct=NotANumber())


class Listed(atv.Refinement):
    """A list for real weights alone: the trial's have 64 rows."""

    def refine(self, weight, mask, pool, width):
        return mask if len(weight) == 64 else mask.tolist()


class FewRows(atv.Reconstruction):
    """A row for real weights alone, which would be spread over all."""

    def reconstruct(self, weight, mask, pool):
        return weight if len(weight) == 64 else weight[:1]


@pytest.mark.parametrize(
    ("option", "step", "message"),
    [
        ("refine", Listed(), r"refine: Listed returned a list for a weight of \(32, 32\) \(.*q_proj\)"),
        ("reconstruct", FewRows(), r"reconstruct: FewRows returned \(1, 32\) for a weight of \(32, 32\) \(.*q_proj\)"),
    ],
)
def test_what_a_step_gives_for_real_weights_is_checked(llava, batches, option, step, message):
    with pytest.raises(ContractError, match=message):
        atv.prune(llava, batches, **{option: step})


@pytest.mark.parametrize(
    ("part", "step"), [("refine", "SparseSwaps"), ("refine", "DSnoT"), ("reconstruct", "LeastSquares")]
)
def test_experts_are_refused_by_name(part, step):
    with pytest.raises(ValueError, match=rf"{part}: {step} supports only Linears, but .* is an expert"):
        atv.prune(moe_llava("qwen3_moe"), never_read(), **{part: step})


def test_the_command_line_finds_a_step_by_its_name_and_suggests_one():
    load_plugins(["prune", "--refine", "DSnoT", "--reconstruct", "LeastSquares"])
    with pytest.raises(ValueError, match=r"refine: .*did you mean 'DSnoT'"):
        load_plugins(["prune", "--refine", "DSnot"])
    load_plugins(["prune", "--refine", "[DSnoT, {class_path: SparseSwaps, init_args: {swaps: 9}}]"])
    with pytest.raises(ValueError, match=r"refine: .*did you mean 'SparseSwaps'"):
        load_plugins(["prune", "--refine", "[DSnoT, SparseSwap]"])


def test_the_command_line_takes_several_in_order():
    given = parser().parse_args(["prune", "--output", "out", "--refine", "[DSnoT,SparseSwaps]"])
    steps = parser().instantiate(given).prune.refine
    assert [type(step) for step in steps] == [atv.DSnoT, atv.SparseSwaps]
    given = parser().parse_args(["prune", "--output", "out", "--refine", "SparseSwaps", "--refine.swaps", "7"])
    assert parser().instantiate(given).prune.refine.swaps == 7
