"""Tokens weighed by their sensitivity: by backward passes in plain torch, for pruning and for rounding."""

import copy

import numpy as np
import pytest
import torch
from helpers.tiny import make_batch, singles

import atv
from atv.calibration.block_gradients import signs
from atv.calibration.calibration_set import numbered_batches
from atv.model.lvlm import LVLM
from atv.quantization import GPTQ
from atv.quantization.blockwise import QuantizationPlan, quantize_blocks
from atv.quantization.quantization_run import linears_of
from atv.quantization.whole_numbers import grids
from atv.runtime.trainer import quiet_trainer

LAYERS = "model.language_model.layers"
SEED = 3


def sensitivities(model, batches, block):
    """Linear of the dense block -> (its inputs, g of each token), sample after sample, float64."""
    model, made, found = copy.deepcopy(model).double(), {}, {}
    layer = model.get_submodule(f"{LAYERS}.{block}")
    layer.register_forward_hook(lambda _, args, out: made.update(block=out))
    for name, linear in layer.named_modules():
        if isinstance(linear, torch.nn.Linear):
            linear.register_forward_hook(lambda _, args, out, name=name: made.update({name: (args[0][0], out)}))
    for index, sample in enumerate(singles(batches)):
        model(**{name: part.double() if part.is_floating_point() else part for name, part in sample.items()})
        output = made.pop("block")
        drawn = np.random.default_rng((SEED, block, index)).integers(0, 2, sum(output.shape[1:])) * 2 - 1
        tokens, channels = np.split(drawn, [output.shape[1]])
        vector = torch.from_numpy(np.outer(tokens, channels)[None]).double()
        gradients = torch.autograd.grad(output, [out for _, out in made.values()], vector)
        for (name, (read, _)), gradient in zip(made.items(), gradients, strict=True):
            known = found.setdefault(f"{LAYERS}.{block}.{name}", [])
            known.append((read.detach().numpy(), gradient[0].square().sum(-1).numpy()))
        made.clear()
    return {name: [np.concatenate(part) for part in zip(*known, strict=True)] for name, known in found.items()}


def test_the_gram_and_the_norms_are_weighed_by_the_formula(llava, batches):
    seen = []

    class Keeps(atv.Wanda):
        """Notes the statistics of every Linear."""

        needs_gram = True

        def score(self, weight, pool):
            seen.append(pool)
            return super().score(weight, pool)

    dense = copy.deepcopy(llava)
    report = atv.prune(llava, batches, selection="TokenSensitivity", criterion=Keeps(), propagate=False, seed=SEED)
    told = [expected for block in range(3) for expected in sensitivities(dense, batches, block).items()]
    names = list(report.masks)
    found = dict(zip(names, seen[-21:], strict=True))
    for name, (inputs, weights) in told:
        gram = (inputs * weights[:, None]).T @ inputs / weights.sum()
        np.testing.assert_allclose(found[name].gram.numpy(), gram, rtol=2e-3, atol=1e-4 * np.abs(gram).max())
        np.testing.assert_allclose(found[name].norm.numpy(), np.sqrt(np.diag(gram)), rtol=2e-3)
        # Behind the FFN's last Linear there is no difference, before it there is.
        assert (weights.std() / weights.mean() < 1e-6) == name.endswith("down_proj"), name


def test_signs_give_the_squared_jacobian_in_the_mean():
    jacobian = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    valid, shaped = torch.tensor([[False, True, True, True, True]]), torch.zeros(1, 5, 6, dtype=torch.float64)
    drawn = torch.cat([signs(shaped, valid, seed, 0, 0) for seed in range(1000)])
    assert not drawn[:, 0].any() and (drawn[:, 1:].abs() == 1).all()
    pulled = torch.einsum("nto,toi->ni", drawn[:, 1:], jacobian).square().sum(1).mean()
    assert float(pulled) == pytest.approx(float(jacobian.square().sum()), rel=0.08)


@pytest.mark.parametrize(
    "options",
    [{"criterion": "SparseGPT", "pattern": "2:4"}, {"pattern": "PerBlock", "reconstruct": "LeastSquares"}],
    ids=["SparseGPT", "PerBlock"],
)
def test_batches_and_padding_play_no_part(llava, batches, options):
    rule = atv.TextFraction(0.8, atv.TokenSensitivity())
    together, alone = (
        atv.prune(copy.deepcopy(llava), given, selection=rule, **options).masks for given in (batches, singles(batches))
    )
    same = [float((together[name] == alone[name]).float().mean()) for name in together]
    assert np.mean(same) > 0.99 and together.sparsity == pytest.approx(0.5, abs=0.01)


def test_rounding_takes_the_weights_too(llava, batches):
    made = {}
    for rule in (atv.AllTokens(), atv.TokenSensitivity()):
        lvlm = LVLM.of(copy.deepcopy(llava))
        linears = linears_of(lvlm, ["*.0.self_attn.q_proj", "*.0.mlp.down_proj"])
        plan = QuantizationPlan(linears, {}, grids(linears, 3, 16), GPTQ(), rule)
        made[type(rule)] = quantize_blocks(
            lvlm, plan, numbered_batches(lvlm, batches), quiet_trainer(enable_progress_bar=False)
        ).weights
    q_proj, down_proj = (
        torch.equal(*(weights[name].whole for weights in made.values())) for name in made[atv.AllTokens]
    )
    # All tokens weigh the same at the block's last Linear, and only there.
    assert not q_proj and down_proj


def test_a_rule_that_did_not_ask_is_told(llava):
    class Asks(atv.TokenSelection):
        """Forgets to ask."""

        def select(self, tokens):
            return tokens.sensitivity

    with pytest.raises(ValueError, match=r"reads tokens.sensitivity must set needs_sensitivity and per_linear = True"):
        atv.prune(llava, [make_batch([7], 5)], selection=Asks())
