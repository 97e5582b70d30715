"""Least squares under a mask against numpy's, on inputs with rows for the damping."""

import copy
import itertools

import numpy as np
import pytest
import torch
from helpers.pruned_folders import edit, save_pruned
from helpers.tiny import make_batch, random_llava
from transformers import AutoModelForImageTextToText, LlavaForConditionalGeneration

import atv
from atv.criteria.normal_equations import conjugate_gradients, damped, solve_by_cholesky
from atv.verification.saved_model import VerificationError


def draw(seed, rows=10, columns=40, tokens=120, spectrum=1.0):
    """A weight and inputs whose spectrum falls as activations' do, some channels a hundred times as large."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(columns, columns)))[0]
    inputs = rng.normal(size=(tokens, columns)) / np.arange(1, columns + 1) ** spectrum @ basis
    inputs[:, :2] *= 100
    return rng.normal(size=(rows, columns)), inputs


def statistics(inputs):
    gram = inputs.T @ inputs / len(inputs)
    return atv.PoolStatistics(torch.tensor(np.sqrt(np.diag(gram))), torch.tensor(gram))


def solved(weight, inputs, kept, damping):
    """Row by row, by lstsq: damping is as many more tokens, each of one channel."""
    ridge = np.sqrt(damping * np.square(inputs).mean() * np.ones(inputs.shape[1]))
    tokens = np.concatenate([inputs / np.sqrt(len(inputs)), np.diag(ridge)])
    found = np.zeros_like(weight)
    for row, mask in enumerate(kept):
        found[row, mask] = np.linalg.lstsq(tokens[:, mask], tokens @ weight[row], rcond=None)[0]
    return found


@pytest.mark.parametrize("iterations", [0, 3, 500], ids=["factors", "some by factors", "conjugate gradients"])
@pytest.mark.parametrize("damping", [1e-3, 0.01, 1.0])
def test_is_least_squares(iterations, damping):
    weight, inputs = draw(0)
    # As PerBlock does: rows keep different numbers of weights, one keeps none and one all.
    kept = np.random.default_rng(1).random(weight.shape) < np.linspace(0.1, 0.9, len(weight))[:, None]
    kept[0], kept[1] = False, True
    rule = atv.LeastSquares(damping, tolerance=1e-9, iterations=iterations)
    found = rule.reconstruct(torch.tensor(weight), torch.tensor(kept), statistics(inputs)).numpy()
    expected = solved(weight, inputs, kept, damping)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())
    assert not found[~kept].any() and np.allclose(found[1], weight[1])


@pytest.mark.parametrize("spectrum", [1.0, 2.0])
def test_conjugate_gradients_stop_where_hardly_anything_is_left_to_gain(spectrum):
    weight, inputs = draw(3, rows=64, columns=512, tokens=3000, spectrum=spectrum)
    pool = statistics(inputs)
    dense = torch.tensor(weight).float()
    mask = atv.Wanda().prune(dense, pool, atv.NOfM(2, 4), 0.5).mask
    rules = atv.LeastSquares(), atv.LeastSquares(iterations=0)
    lost = [rule.reconstruct(dense, mask, pool).double() - weight for rule in rules]
    stopped, least = ((each @ damped(pool.gram, 0.01) * each).sum() for each in lost)
    assert least * (1 - 1e-6) <= stopped < 1.0005 * least


def test_float32_is_as_good_where_it_counts():
    """The error of the row, not its weights: directions that nobody uses are free."""
    weight, inputs = draw(2, rows=64, columns=96, tokens=300, spectrum=1.5)
    pool = statistics(inputs)
    mask = atv.Wanda().prune(torch.tensor(weight), pool, atv.Unstructured(), 0.5).mask
    found = atv.LeastSquares().reconstruct(torch.tensor(weight).float(), mask, pool)
    assert found.dtype == torch.float32
    best = solved(weight, inputs, mask.numpy(), 0.01)
    hessian = damped(pool.gram, 0.01).numpy()

    def error(updated):
        return np.einsum("ri,ij,rj->r", weight - updated, hessian, weight - updated)

    assert (error(found.double().numpy()) <= error(best) * 1.001).all()
    assert error(best).sum() < 0.8 * error(np.where(mask.numpy(), weight, 0)).sum()


def test_every_iteration_lowers_the_error_and_only_rows_that_are_done_say_so():
    weight, inputs = draw(3)
    dense, hessian = torch.tensor(weight), damped(statistics(inputs).gram, 0.01)
    mask = torch.tensor(np.random.default_rng(0).random(weight.shape) < 0.5)
    start, errors = dense * mask, []
    best = solve_by_cholesky(hessian, dense, mask)
    for iterations in range(0, 60, 3):
        rows, done = conjugate_gradients(hessian, dense, mask, start, iterations, 1e-8)
        errors.append(torch.einsum("ri,ij,rj->r", dense - rows, hessian, dense - rows))
        assert torch.allclose(rows[done], best[done], rtol=1e-5, atol=1e-6) and not rows[~mask].any()
    assert all((later <= earlier * (1 + 1e-12)).all() for earlier, later in itertools.pairwise(errors))
    assert bool(done.all()) and not bool(conjugate_gradients(hessian, dense, mask, start, 2, 1e-8)[1].any())


def test_factors_do_not_depend_on_the_batches():
    weight, inputs = draw(4)
    dense, hessian = torch.tensor(weight), damped(statistics(inputs).gram, 0.01)
    mask = torch.tensor(np.random.default_rng(0).random(weight.shape) < 0.5)
    assert torch.allclose(solve_by_cholesky(hessian, dense, mask, entries=1), solve_by_cholesky(hessian, dense, mask))


def test_channels_that_are_never_active_keep_their_weights():
    weight, inputs = draw(5)
    inputs[:, 7] = 0
    mask = torch.tensor(np.arange(weight.shape[1]) % 2 == 1).expand(*weight.shape)
    found = atv.LeastSquares().reconstruct(torch.tensor(weight), mask, statistics(inputs))
    assert np.allclose(found[:, 7].numpy(), weight[:, 7]) and found.isfinite().all()
    silent = atv.PoolStatistics(torch.zeros(40), torch.zeros(40, 40, dtype=torch.float64))
    found = atv.LeastSquares().reconstruct(torch.tensor(weight), mask, silent)
    assert np.allclose(found.numpy(), np.where(mask.numpy(), weight, 0))


def test_half_precision_is_solved_in_float32():
    weight, inputs = draw(6)
    mask = torch.ones(weight.shape, dtype=torch.bool)
    found = atv.LeastSquares().reconstruct(torch.tensor(weight).bfloat16(), mask, statistics(inputs))
    assert found.dtype == torch.float32


BATCHES = [make_batch([5, 8], 1), make_batch([6], 2)]
DOWN = "model.language_model.layers.0.mlp.down_proj"
OPTIONS = {"selection": "AllTokens", "pattern": atv.FFNChannels(8), "sparsity": 0.5, "reconstruct": "MeanToBias"}


def biased():
    """The random LLaVA with a bias in every Linear of its decoder, the same at every call."""
    config = copy.deepcopy(random_llava().config)
    config.text_config.attention_bias = config.text_config.mlp_bias = True
    torch.manual_seed(1)
    model = LlavaForConditionalGeneration(config).eval()
    for name, parameter in model.named_parameters():
        if "language_model" in name and name.endswith(".bias"):
            parameter.data.normal_()
    return model


def mean_input(model, name):
    """Of a Linear, over the valid tokens of all batches, float64 (in,)."""
    seen = []
    hook = model.get_submodule(name).register_forward_hook(lambda module, args, output: seen.append(args[0]))
    with torch.no_grad():
        rows = [(model(**batch), seen[-1][batch["attention_mask"].bool()])[1] for batch in BATCHES]
    hook.remove()
    return torch.cat(rows).double().mean(0)


def test_the_mean_of_the_outputs_is_kept():
    rng = np.random.default_rng(0)
    inputs, weight, kept = rng.normal(2, 1, (50, 6)), rng.normal(size=(4, 6)), rng.random((4, 6)) < 0.5
    moments = torch.tensor(inputs.mean(0)), torch.tensor(inputs.var(0))
    pool = atv.PoolStatistics(torch.ones(6), None, *moments)
    shift = atv.MeanToBias().shift(torch.tensor(weight), torch.tensor(kept), pool).numpy()
    np.testing.assert_allclose((inputs @ (weight * kept).T + shift).mean(0), (inputs @ weight.T).mean(0), rtol=1e-12)


def test_a_smaller_model_has_the_biases_and_is_what_it_says(tmp_path):
    dense, model = biased(), biased()
    dense.save_pretrained(tmp_path / "dense")
    report = save_pruned(model, BATCHES, tmp_path / "small", **OPTIONS)
    before = dense.get_submodule(DOWN)
    lost = before.weight.double().masked_fill(report.masks[DOWN], 0) @ mean_input(dense, DOWN)
    after = model.get_submodule(DOWN).bias
    torch.testing.assert_close(after.double(), before.bias.double() + lost, rtol=1e-4, atol=1e-5)
    assert float(lost.detach().abs().max()) > 0.01
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "small")
    assert torch.equal(loaded.get_submodule(DOWN).bias, after)
    assert loaded.get_submodule(DOWN).in_features == 24
    atv.verify(tmp_path / "small", tmp_path / "dense", max_new_tokens=0)
    edit(tmp_path / "small", lambda tensors: tensors["language_model.model.layers.1.self_attn.o_proj.bias"].add_(1))
    with pytest.raises(VerificationError, match=r"layers\.1\.self_attn\.o_proj\.bias differs from the base model's"):
        atv.verify(tmp_path / "small", tmp_path / "dense", max_new_tokens=0)


def test_a_run_that_goes_on_moves_each_bias_once(tmp_path):
    models = biased(), biased()
    for model in models:
        atv.prune(model, BATCHES, run_dir=tmp_path, **OPTIONS)
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(second[name], tensor) for name, tensor in first.items())


def test_it_is_refused_where_there_is_no_bias_to_move():
    with pytest.raises(ValueError, match=r"MeanToBias moves what is lost into biases, but .*q_proj has none"):
        atv.prune(random_llava(), BATCHES, reconstruct="MeanToBias")
    with pytest.raises(ValueError, match="MeanToBias keeps the dense weights, so the updates by SparseGPT would"):
        atv.prune(biased(), BATCHES, criterion="SparseGPT", reconstruct="MeanToBias")
    pathways = {name: atv.Pathway("AllTokens", reconstruct="MeanToBias") for name in ("text", "visual")}
    with pytest.raises(ValueError, match="MeanToBias changes biases, which pathways share"):
        atv.decouple(biased(), BATCHES, **pathways)
