"""Rules of several parts: weights found by the formula in numpy and by plain backward passes, and what is refused."""

import copy

import numpy as np
import pytest
import torch
from helpers.moe import moe_llava
from helpers.tiny import make_batch, singles
from torch.nn import functional as F

import atv
from atv.calibration import parted_pool, pathway_plan
from atv.calibration.parted_pool import HeldOut
from atv.calibration.pathway_plan import PathwayPlan
from atv.data.labels import IGNORED
from atv.model.lvlm import LVLM
from atv.patterns import Unstructured

LAYERS = "model.language_model.layers"


@pytest.fixture
def labelled(batches):
    """Five samples with pictures and two without; answers begin with the third word."""
    made = [*batches, make_batch([7, 9], 5, images=False)]
    for batch in made:
        text = (batch["input_ids"] != 7) & batch["attention_mask"].bool()
        answer = text & (text.cumsum(1) > 2)
        batch["labels"] = torch.where(answer, batch["input_ids"], IGNORED)
    return made


class Keeps(atv.Criterion):
    """Wanda; keeps the statistics of every Linear, in order."""

    needs_gram = True
    seen: list = []

    def score(self, weight, pool):
        Keeps.seen.append(pool)
        return weight.float().abs() * pool.norm


def run(llava, batches, rule, **options):
    """(report, name -> statistics, name -> the dense model's inputs by sample, visual tokens by sample)."""
    dense, read = copy.deepcopy(llava), {}
    lvlm, Keeps.seen = LVLM.of(llava), []
    names = list(lvlm.targets(None))
    for name in names:
        read[name] = []
        hook = lambda module, given, name=name: read[name].append(given[0][0].detach().double().numpy())  # noqa: E731
        dense.get_submodule(name).register_forward_pre_hook(hook)
    visual = []
    with torch.no_grad():
        for sample in singles([{k: v for k, v in batch.items() if k != "labels"} for batch in batches]):
            dense(**sample)
            visual.append((sample["input_ids"][0] == 7).numpy())
    report = atv.prune(llava, batches, selection=rule, criterion=Keeps(), propagate=False, **options)
    return report, dict(zip(names, Keeps.seen[-len(names) :], strict=True)), read, visual


def by_modality(inputs, visual, samples):
    """Rows of text and of visual tokens of some samples."""
    return [np.concatenate([inputs[s][visual[s] == kind] for s in samples]) for kind in (False, True)]


def held_out(weights, read, visual, halves, b, sparsity):
    """Shares of squared outputs that are lost on the second half, (text, visual), mean over Linears."""
    lost = []
    for name, weight in weights.items():
        text, picture = ((rows**2).mean(0) for rows in by_modality(read[name], visual, halves[0]))
        score = np.abs(weight) * np.sqrt(text + b * picture)
        mask = np.ones_like(weight, dtype=bool)
        going = np.argsort(score, axis=1, kind="stable")[:, : int(weight.shape[1] * sparsity)]
        np.put_along_axis(mask, going, False, axis=1)
        square = [(rows**2).mean(0) for rows in by_modality(read[name], visual, halves[1])]
        lost.append([((weight**2 * ~mask) @ s).sum() / ((weight**2) @ s).sum() for s in square])
    return np.mean(lost, axis=0)


def test_the_weight_is_that_of_the_least_error_on_held_out_samples(llava, labelled):
    dense = copy.deepcopy(llava)
    grid = (0.0, 0.02, 0.1, 0.5, 2.0)
    report, pools, read, visual = run(llava, labelled, atv.BalancedPools(grid))
    halves, chosen = ([0, 2, 4, 5], [1, 3, 6]), []
    for block, told in enumerate(report.blocks):
        names = [name for name in read if f"layers.{block}." in name]
        weights = {name: dense.get_submodule(name).weight.detach().double().numpy() for name in names}
        lost = [held_out(weights, read, visual, halves, b, 0.5) for b in grid]
        drift = [_drift(dense, labelled, block, kind) for kind in (False, True)]
        assert told.mean_drift == pytest.approx(drift[1], rel=1e-4)
        best = grid[int(np.argmin([np.multiply(drift, each).max() for each in lost]))]
        assert told.pool_weights["both"] == {"text": 1.0, "visual": pytest.approx(best)}
        assert told.selected["both"] == {"text": sum((~v).sum() for v in visual), "visual": 45 * (best > 0)}
        chosen.append(best)
        for name in names:
            text, picture = by_modality(read[name], visual, range(7))
            gram = (text.T @ text / len(text) + best * picture.T @ picture / len(picture)) / (1 + best)
            found = pools[name]
            np.testing.assert_allclose(found.gram.numpy(), gram, rtol=1e-4, atol=1e-5 * np.abs(gram).max())
            np.testing.assert_allclose(found.norm.numpy(), np.sqrt(np.diag(gram)), rtol=1e-4)
    assert len(set(chosen)) > 1


def test_structures_are_weighed_by_all_rows(llava, labelled, monkeypatch):
    monkeypatch.setattr(parted_pool, "_ROWS", 8)
    report = atv.prune(llava, labelled, selection="BalancedPools", pattern=atv.FFNChannels(8))
    assert report.sparsity == pytest.approx(0.5) and all(block.pool_weights for block in report.blocks)


@torch.no_grad()
def _drift(model, batches, block, visual):
    drifts = []
    layer = model.get_submodule(f"{LAYERS}.{block}")
    seen = []
    hook = layer.register_forward_hook(
        lambda _, args, kwargs, out: seen.append(
            (args[0] if args else kwargs["hidden_states"], out if torch.is_tensor(out) else out[0])
        ),
        with_kwargs=True,
    )
    for sample in singles([{k: v for k, v in batch.items() if k != "labels"} for batch in batches]):
        model(**sample)
        before, after = (part[0].double() for part in seen.pop())
        here = (sample["input_ids"][0] == 7) == visual
        drifts.append((1 - F.cosine_similarity(before, after, dim=-1))[here])
    hook.remove()
    return float(torch.cat(drifts).mean())


def chosen_for(text, visual, drift=(0.2, 0.2)):
    """What is chosen where a Linear's channels have these mean squares on text and visual tokens of either half."""
    weight = torch.randn(64, len(text), generator=torch.Generator().manual_seed(1))
    plan = PathwayPlan(atv.BalancedPools(), atv.Wanda(), Unstructured(), atv.Uniform(), 0.5, {"linear": 0.5})
    squares = {"site": torch.tensor(np.array([text, visual]))}
    trial = HeldOut(plan, [squares, squares], {"linear": "site"}, {"linear": weight})
    statistics = atv.SetStatistics(drift[1], 8, 100, 100, text_drift=drift[0])
    return plan.selection.weigh(atv.ObservedBlock(("linear",), statistics, trial.shares_lost))["linear"]


def test_visual_tokens_weigh_what_they_bring():
    channels = np.linspace(0.5, 2, 32)
    own = np.where(np.arange(32) < 16, 0.01, 4.0)
    # Redundant ones bring nothing, whatever their size; those with channels of their own do, the more they are moved.
    assert chosen_for(channels, channels) == chosen_for(channels, 9 * channels) == (1.0, 0.0)
    shared = chosen_for(np.where(np.arange(32) < 16, 4.0, 0.4), own)
    assert shared[1] >= 0.1
    assert chosen_for(np.where(np.arange(32) < 16, 4.0, 0.4), own, drift=(0.5, 1e-6)) == (1.0, 0.0)
    assert chosen_for(np.where(np.arange(32) < 16, 4.0, 0.4), own, drift=(0.01, 0.5))[1] >= shared[1]


def gradients(model, batches):
    """module -> [(mean |gradient| over visual tokens, over answers)] by sample, by ordinary backward passes."""
    model, found = copy.deepcopy(model), {}
    kept = {}
    for block in range(3):
        for part in ("self_attn", "mlp"):
            name = f"{LAYERS}.{block}.{part}"

            def hook(module, args, out, name=name):
                kept[name] = out if torch.is_tensor(out) else out[0]
                kept[name].retain_grad()

            model.get_submodule(name).register_forward_hook(hook)
    for sample in singles(batches):
        labels = sample.pop("labels")
        logits = model(**sample).logits
        F.cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=IGNORED).backward()
        for name, output in kept.items():
            size, visual = output.grad[0].abs().mean(-1), sample["input_ids"][0] == 7
            found.setdefault(name, []).append(
                [float(size[kind].mean()) if kind.any() else np.nan for kind in (visual, labels[0] != IGNORED)]
            )
    return found


def test_the_ratio_of_gradients_is_that_of_plain_backward_passes(llava, labelled):
    sizes = gradients(llava, labelled)
    ratio = {name: np.divide(*np.nanmean(np.array(each), axis=0)) for name, each in sizes.items()}
    report, pools, read, visual = run(llava, labelled, atv.GradientRatio())
    answers = [(sample["labels"][0] != IGNORED).numpy() for sample in singles(labelled)]
    raised = 0
    for name, found in pools.items():
        holder = name.rpartition(".")[0]
        middle = np.median([each for other, each in ratio.items() if other.endswith(holder.rpartition(".")[2])])
        raised += middle > ratio[holder]
        r = max(ratio[holder], middle)
        told, picture = (
            np.concatenate([rows[here] for rows, here in zip(read[name], kind, strict=True)])
            for kind in (answers, visual)
        )
        gram = (told.T @ told / len(told) + r * picture.T @ picture / len(picture)) / (1 + r)
        np.testing.assert_allclose(found.gram.numpy(), gram, rtol=1e-3, atol=1e-5 * np.abs(gram).max())
    assert 0 < raised < len(pools)
    block = report.blocks[0]
    assert block.selected["both"] == {"text": sum(a.sum() for a in answers), "visual": 45}
    assert set(block.pool_weights["both"]) == {"answer", "visual"} and report.allocation.dense_seconds > 0
    assert all(p.requires_grad and p.grad is None for p in llava.parameters())


@pytest.mark.parametrize(
    "options",
    [
        {"criterion": "SparseGPT", "pattern": "2:4"},
        {"pattern": "PerBlock", "allocation": "OWL", "refine": ["DSnoT", "SparseSwaps"], "reconstruct": "LeastSquares"},
    ],
    ids=["SparseGPT", "PerBlock"],
)
def test_parts_go_with_every_other_choice(llava, labelled, options):
    for rule in ("BalancedPools", "GradientRatio"):
        model = copy.deepcopy(llava)
        report = atv.prune(model, labelled, selection=rule, **options)
        assert report.sparsity == pytest.approx(0.5, abs=0.03)
        for name, mask in report.masks.items():
            assert not model.get_submodule(name).weight[~mask].any()


def test_pathways_weigh_for_themselves(llava, labelled):
    text, visual = atv.Pathway("GradientRatio"), atv.Pathway("BalancedPools")
    told = atv.decouple(llava, labelled, text=text, visual=visual).blocks[0].pool_weights
    assert told["text"].keys() == {"answer", "visual"} and told["visual"].keys() == {"text", "visual"}


def test_ordinary_runs_measure_nothing_and_tell_no_weights(llava, batches):
    report = atv.prune(llava, batches)
    assert report.allocation.dense_seconds == 0 and "pool_weights" not in report.as_dict()["blocks"][0]


@pytest.mark.parametrize("rule", ["BalancedPools", "GradientRatio"])
def test_a_killed_run_goes_on(llava, labelled, tmp_path, rule):
    again = copy.deepcopy(llava)
    first = atv.prune(llava, labelled, selection=rule, run_dir=tmp_path)
    (tmp_path / "blocks" / "002.json").unlink()
    second = atv.prune(again, labelled, selection=rule, run_dir=tmp_path)
    assert all(torch.equal(first.masks[name], second.masks[name]) for name in first.masks)
    assert [b.pool_weights for b in first.blocks] == [b.pool_weights for b in second.blocks]


def never_forward(model):
    model.forward = lambda **_: pytest.fail("the model was run")
    return model


def test_what_cannot_be_weighed_is_refused_before_the_model_runs(llava, labelled):
    plain = {"batches": [make_batch([7, 9], 5, images=False)]}
    one = {"batches": [make_batch([7], 5), *plain["batches"]]}
    for rule, batches, message in (
        ("BalancedPools", plain["batches"], "BalancedPools weighs visual tokens, but the calibration set has none"),
        ("BalancedPools", one["batches"], "BalancedPools holds out samples with pictures, but .* has only 1"),
        ("GradientRatio", one["batches"], "GradientRatio weighs answers, but batch 0 has no labels"),
        (atv.TextFraction(0.5, atv.BalancedPools()), labelled, "BalancedPools weights parts block by block; no other"),
    ):
        with pytest.raises(ValueError, match=message):
            atv.prune(never_forward(copy.deepcopy(llava)), batches, selection=rule)
    with pytest.raises(ValueError, match=r"selection: BalancedPools supports only Linears, but .* is an expert"):
        atv.prune(moe_llava("qwen3_moe"), labelled, selection="BalancedPools")
    with pytest.raises(ValueError, match=r"weights: expected numbers of at least 0, got \[0, -1\]"):
        atv.BalancedPools((0, -1))


def test_a_rule_of_ones_own_is_told_what_is_wrong_with_its_weights(llava, labelled):
    class Lopsided(atv.PartedSelection):
        """Forgets a part."""

        def weigh(self, block):
            return dict.fromkeys(block.targets, (1.0,))

    with pytest.raises(ValueError, match=r"Lopsided.weigh returned \(1.0,\) for .*; expected weights for text, visual"):
        atv.prune(llava, labelled, selection=Lopsided())


def test_an_offloaded_model_cannot_be_run_backward(llava, labelled, monkeypatch):
    monkeypatch.setattr(pathway_plan, "is_offloaded", lambda model: True)
    with pytest.raises(ValueError, match="GradientRatio runs the dense model backward, which offloading does not"):
        atv.prune(never_forward(llava), labelled, selection="GradientRatio")
