"""Allocations against their formulas, from sample-by-sample forwards of the dense model in numpy."""

import copy
import weakref

import numpy as np
import pytest
import torch
from helpers.tiny import IMAGE, make_batch, singles
from torch.nn import functional as F

import atv
from atv.model.lvlm import LVLM


def allotted(model, batches, allocation, sparsity=0.5, **options):
    """What each Linear is to lose, on a copy of the model."""
    report = atv.prune(copy.deepcopy(model), batches, allocation=allocation, sparsity=sparsity, **options)
    return report.allocation.sparsities["both"], report


def dense_activations(model, batches):
    """Of every sample: (visual (n,), Linear -> (inputs, outputs) in float64)."""
    linears = LVLM.of(model).linears
    for one in singles(batches):
        caught = {}
        handles = [
            linear.register_forward_hook(
                lambda _, args, output, n=name, c=caught: c.__setitem__(n, (args[0][0].double(), output[0].double()))
            )
            for name, linear in linears.items()
        ]
        with torch.no_grad():
            model(**one, use_cache=False)
        for handle in handles:
            handle.remove()
        yield (one["input_ids"][0] == IMAGE).numpy(), caught


def wanda_scores(model, batches):
    """Block -> all its Wanda scores in one array."""
    sums = {}
    for _, caught in dense_activations(model, batches):
        for name, (inputs, _) in caught.items():
            sums[name] = sums.get(name, 0) + (inputs.numpy() ** 2).sum(0)
    blocks = {}
    for name, linear in LVLM.of(model).linears.items():
        score = np.abs(linear.weight.detach().double().numpy()) * np.sqrt(sums[name])
        blocks.setdefault(LVLM.of(model).block_of(name), []).append(score.flatten())
    return {block: np.concatenate(scores) for block, scores in blocks.items()}


def raised(rates, spread, sparsity):
    rates = np.array(rates)
    part = (rates - rates.min()) / (rates.max() - rates.min()) * 2 * spread
    return 1 - (part - part.mean() + 1 - sparsity)


@pytest.mark.parametrize("sparsity", [0.3, 0.6])
def test_owl_follows_its_formula(llava, batches, sparsity):
    rates = [(s > 2 * s.mean()).mean() for _, s in sorted(wanda_scores(llava, batches).items())]
    shares, _ = allotted(llava, batches, atv.OWL(threshold=2.0), sparsity)
    expected = raised(rates, 0.08, sparsity)
    for name, share in shares.items():
        assert share == pytest.approx(expected[LVLM.of(llava).block_of(name)], abs=1e-6)
    assert len(set(shares.values())) == 3


def test_dlp_follows_its_formula(llava, batches):
    medians = np.array([np.sort(s)[(len(s) - 1) // 2] for _, s in sorted(wanda_scores(llava, batches).items())])
    shares, _ = allotted(llava, batches, "DLP")
    expected = raised(1 - medians / medians.sum(), 0.15, 0.5)
    for name, share in shares.items():
        assert share == pytest.approx(expected[LVLM.of(llava).block_of(name)], abs=1e-4)


@pytest.mark.parametrize("name", ["OWL", "DLP"])
def test_scores_of_one_block_are_held_at_a_time(llava, batches, name, monkeypatch):
    kind, seen = getattr(atv, name), []
    rate = kind.rate

    def watched(self, scores):
        assert not any(earlier() is not None for earlier in seen)
        seen.extend(weakref.ref(score) for score in scores)
        return rate(self, scores)

    monkeypatch.setattr(kind, "rate", watched)
    allotted(llava, batches, name)
    assert len(seen) == len(LVLM.of(llava).linears)


def diversity(outputs, visual):
    z = outputs / np.linalg.norm(outputs, axis=1, keepdims=True)

    def within(rows):
        pairs = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
        return pairs[pairs > 0].mean()

    return 3 - within(z[visual]) - within(z[~visual]) - (z[visual] @ z[~visual].T).mean()


def shared_out(importance, size, sparsity):
    """Every Linear keeps 1 - (S + 0.1); what is left by importance, no Linear over 100%, again until nothing is."""
    kept = {name: (0.9 - sparsity) * size[name] for name in size}
    left = (1 - sparsity) * sum(size.values()) - sum(kept.values())
    while left > 1e-9:
        total = sum(importance[name] for name in size if kept[name] < size[name])
        added = {
            name: min(left * importance[name] / total, size[name] - kept[name])
            for name in size
            if kept[name] < size[name]
        }
        kept = {name: kept[name] + added.get(name, 0) for name in size}
        left -= sum(added.values())
    return {name: 1 - kept[name] / size[name] for name in size}


@pytest.mark.parametrize("sparsity", [0.2, 0.5])
def test_das_follows_its_formula(llava, batches, sparsity):
    importance = {}
    for visual, caught in dense_activations(llava, batches):
        for name, (_, outputs) in caught.items():
            importance[name] = importance.get(name, 0) + diversity(outputs.numpy(), visual) / 5
    size = {name: linear.weight.numel() for name, linear in LVLM.of(llava).linears.items()}
    shares, _ = allotted(llava, batches, "DAS", sparsity)
    assert shares == pytest.approx(shared_out(importance, size, sparsity), abs=1e-5)


def test_ecoflap_measures_the_gradient_along_its_draw(llava, batches):
    """At a small step its difference is the exact directional derivative, taken here by autograd in float64."""
    from atv.allocation.importance import _normal, text_loss

    model, batch = llava.double(), {**batches[0], "pixel_values": batches[0]["pixel_values"].double()}
    lvlm = LVLM.of(model)
    dense = atv.DenseBatch(batch, lvlm.visual(batch) & lvlm.valid(batch), lvlm.valid(batch), (3, 0))
    picked = dict(list(lvlm.linears.items())[4:6])
    with torch.no_grad():
        found = atv.ECoFLaP(eps=1e-5).measure(model, picked, dense)
    for index, (name, linear) in enumerate(picked.items()):
        for row, loss in enumerate(text_loss(model, dense)):
            (gradient,) = torch.autograd.grad(loss, linear.weight, retain_graph=True)
            along = (gradient * _normal(linear.weight, (3, 0, index))).sum().abs()
            assert found[name][row].item() == pytest.approx(along.item(), rel=0.05, abs=0.02)


def test_the_loss_is_the_text_tokens_cross_entropy(llava, batches):
    from atv.allocation.importance import text_loss

    lvlm, found = LVLM.of(llava), []
    with torch.no_grad():
        for batch in batches:
            valid = lvlm.valid(batch)
            found += text_loss(llava, atv.DenseBatch(batch, lvlm.visual(batch) & valid, valid, (0, 0))).tolist()
        for one, loss in zip(singles(batches), found, strict=True):
            ids, log = one["input_ids"][0], F.log_softmax(llava(**one).logits[0].double(), -1)
            terms = [-log[t - 1, ids[t]].item() for t in range(1, len(ids)) if ids[t] != IMAGE]
            assert loss == pytest.approx(np.mean(terms), abs=1e-4)


def test_ecoflap_leaves_the_model_as_it_was(llava, batches):
    before = copy.deepcopy(llava.state_dict())
    lvlm = LVLM.of(llava)
    valid = lvlm.valid(batches[0])
    with torch.no_grad():
        atv.ECoFLaP().measure(llava, lvlm.linears, atv.DenseBatch(batches[0], lvlm.visual(batches[0]), valid, (0, 0)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in llava.state_dict().items())


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.97])
@pytest.mark.parametrize(
    ("allocation", "reach"),
    [(atv.OWL(), 0.16), (atv.DLP(), 0.3), (atv.DAS(), 0.1), (atv.ECoFLaP(), 0.1), (atv.ByKind({"*": 0.5}), 0)],
    ids=lambda value: type(value).__name__,
)
def test_targets_are_met_within_the_bounds(llava, batches, allocation, reach, sparsity):
    if isinstance(allocation, atv.ByKind):
        allocation = atv.ByKind({"*_attn.*": sparsity})
    shares, report = allotted(llava, batches[1:2], allocation, sparsity)
    size = {name: linear.weight.numel() for name, linear in LVLM.of(llava).linears.items()}
    mean = sum(shares[name] * size[name] for name in size) / sum(size.values())
    assert mean == pytest.approx(sparsity, abs=1e-8)
    assert all(0 <= share <= min(1, sparsity + reach) + 1e-8 for share in shares.values())
    rows = sum(linear.out_features for linear in LVLM.of(llava).linears.values())
    assert 0 <= sparsity * sum(size.values()) - report.masks.pruned <= rows


def test_padding_batching_and_seeds(llava, batches):
    for name in ("OWL", "DLP", "DAS"):
        together, _ = allotted(llava, batches, name)
        alone, _ = allotted(llava, singles(batches), name, seed=5)
        assert together == pytest.approx(alone, abs=1e-5)
    first, again, other = (allotted(llava, batches[1:2], "ECoFLaP", seed=seed)[0] for seed in (0, 0, 1))
    assert first == again != other


def test_duplicating_the_set_moves_nothing(llava, batches):
    for name in ("OWL", "DLP", "DAS"):
        assert allotted(llava, batches, name)[0] == pytest.approx(allotted(llava, batches * 2, name)[0], abs=1e-5)


def test_text_only_samples_are_measured(llava):
    size = {name: linear.weight.numel() for name, linear in LVLM.of(llava).linears.items()}
    for name in ("OWL", "DLP", "DAS", "ECoFLaP"):
        shares, _ = allotted(llava, [make_batch([5, 9], 4, images=False)], name)
        assert len(set(shares.values())) > 1, name
        mean = sum(shares[linear] * size[linear] for linear in size) / sum(size.values())
        assert mean == pytest.approx(0.5, abs=1e-8), name


def test_the_dense_pass_is_timed_apart_and_not_run_for_nothing(llava, batches):
    assert allotted(llava, batches, "Uniform")[1].allocation.dense_seconds == 0
    report = allotted(llava, batches, "OWL")[1]
    assert report.allocation.dense_seconds > 0
    assert report.as_dict()["allocation"]["sparsities"]["both"].keys() == report.masks.keys()


def test_the_model_is_measured_before_anything_is_pruned_and_once(llava, batches, tmp_path, monkeypatch):
    shares, _ = allotted(llava, batches, "OWL", run_dir=tmp_path)
    monkeypatch.setattr(atv.OWL, "measure", None)
    assert allotted(llava, batches, "OWL", run_dir=tmp_path)[0] == shares


def test_a_model_that_was_pruned_is_told_from_a_dense_one(llava, batches, recwarn):
    atv.prune(llava, batches, sparsity=0.3)
    assert not [warned for warned in recwarn if "zero before pruning" in str(warned.message)]
    with pytest.warns(UserWarning, match=r"model: 2\d\.\d% of the targets' weights are zero before pruning; load"):
        atv.prune(llava, batches, sparsity=0.5)


def test_pathways_have_allocations_of_their_own(llava, batches):
    text = atv.Pathway("TextOnly", sparsity=0.3, allocation="OWL")
    visual = atv.Pathway("VisualOnly", sparsity=0.7, allocation="DAS")
    report = atv.decouple(llava, batches, text=text, visual=visual)
    assert report.pathways["text"].sparsity == pytest.approx(0.3, abs=0.03)
    assert report.pathways["visual"].sparsity == pytest.approx(0.7, abs=0.03)
    assert len(set(report.allocation.sparsities["text"].values())) == 3


class TooMuch(atv.Allocation):
    def allocate(self, linears, sparsity, dense):
        return dict.fromkeys(linears, 1.2)


class Forgetful(atv.Allocation):
    def allocate(self, linears, sparsity, dense):
        return {}


class Ninety(atv.Allocation):
    def allocate(self, linears, sparsity, dense):
        return dict.fromkeys(linears, 0.9)


class Absolute(atv.Allocation):
    def allocate(self, linears, sparsity, dense):
        return {name: sparsity + 0 * float(dense.weight(name).abs_().sum()) for name in linears}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"allocation": "OWL", "pattern": "2:4"}, "the pattern NOfM fixes the sparsity of every Linear, so OWL has"),
        ({"allocation": "DAS", "pattern": "PerBlock"}, "DAS sets the sparsity of each Linear, but under the pattern"),
        ({"allocation": TooMuch()}, "TooMuch returned 1.2 for model.language_model.layers.0.self_attn.q_proj"),
        ({"allocation": Ninety()}, r"Ninety\.allocate returned a mean by size of 0\.9; expected 0\.5"),
        ({"allocation": Absolute()}, r"Absolute\.allocate changes its input weights\['.*q_proj'\] in place"),
        ({"allocation": Forgetful()}, "Forgetful returned no sparsity for model.language_model"),
    ],
)
def test_contradictions_are_refused_before_calibration(llava, arguments, message):
    def never():
        raise AssertionError("calibration began")
        yield

    with pytest.raises(ValueError, match=message):
        atv.prune(llava, never(), **arguments)
