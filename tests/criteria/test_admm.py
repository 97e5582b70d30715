"""ADMM and ALPS against their steps written down with explicit inverses, in float64."""

import numpy as np
import pytest
import torch

import atv


def draw(seed, rows=12, columns=16, tokens=80):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(tokens, columns)) @ (np.eye(columns) + 0.4 * rng.normal(size=(columns, columns)))
    gram = inputs.T @ inputs / tokens
    pool = atv.PoolStatistics(torch.tensor(np.sqrt(np.diag(gram))), torch.tensor(gram))
    return rng.normal(size=(rows, columns)), gram, pool


def keep_rows(score, sparsity):
    kept = np.ones(score.shape, dtype=bool)
    for row, mask in zip(score, kept, strict=True):
        mask[np.argsort(row, kind="stable")[: int(len(row) * sparsity + 1e-9)]] = False
    return kept


def keep_groups(score, sparsity=0.5):
    return keep_rows(score.reshape(-1, 4), 0.5).reshape(score.shape)


def error(weight, updated, gram):
    return float(np.einsum("ri,ij,rj->", weight - updated, gram, weight - updated))


def admm(weight, gram, mask_at, damping=0.1, iterations=20, growing=15):
    s = np.sqrt(np.diag(gram))
    hessian = gram / np.outer(s, s)
    hessian += damping * np.diag(hessian).mean() * np.eye(len(s))
    dense = weight * s
    w, u, kept = dense.copy(), np.zeros_like(dense), None
    for step in range(iterations):
        if step < growing:
            kept = mask_at(np.abs(w + u), 1 - (1 - (step + 1) / growing) ** 3)
        z = (w + u) * kept
        u = u + w - z
        w = (dense @ hessian + z - u) @ np.linalg.inv(hessian + np.eye(len(s)))
    return kept, (w + u) * kept / s


def groups_growing(score, share):
    """Of what 2:4 would prune, the lowest share goes."""
    final = keep_groups(score)
    order = np.argsort(np.where(final, np.inf, score).flatten(), kind="stable")
    kept = np.ones(score.size, dtype=bool)
    kept[order[: int((~final).sum() * share)]] = False
    return kept.reshape(score.shape)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pattern", ["rows", "2:4"])
def test_admm_is_its_formula(seed, pattern):
    weight, gram, pool = draw(seed)
    if pattern == "rows":
        expected = admm(weight, gram, lambda score, share: keep_rows(score, 0.5 * share))
        made = atv.ADMM().prune(torch.tensor(weight), pool, atv.Unstructured(), 0.5)
    else:
        expected = admm(weight, gram, groups_growing)
        made = atv.ADMM().prune(torch.tensor(weight), pool, atv.NOfM(2, 4), 0.5)
    assert np.array_equal(made.mask.numpy(), expected[0])
    assert np.allclose(made.weight.numpy(), expected[1], rtol=1e-9, atol=1e-12)


def test_admm_under_a_mask_comes_to_least_squares():
    weight, gram, pool = draw(4)
    mask = atv.Wanda().prune(torch.tensor(weight), pool, atv.Unstructured(), 0.5).mask
    made = atv.ADMM(damping=1e-6, iterations=4000, growing=1).prune(
        torch.tensor(weight), pool, atv.Unstructured(), 0.5, mask
    )
    assert torch.equal(made.mask, mask)
    for row, kept in enumerate(mask.numpy()):
        best = np.linalg.solve(gram[np.ix_(kept, kept)], (gram @ weight[row])[kept])
        assert np.allclose(made.weight[row].numpy()[kept], best, rtol=1e-3, atol=1e-3)


def alps(weight, gram, keep, ridge=0.01, rho=0.1, iterations=300):
    """The authors' schedule of the penalty, and then all of the least squares."""
    hessian = gram + ridge * np.diag(gram).mean() * np.eye(len(gram))
    s = np.sqrt(np.diag(hessian))
    hessian = hessian / np.outer(s, s)
    dense = weight * s
    seen = keep(np.abs(dense))
    b, d, v, grew = dense, dense * seen, np.zeros_like(dense), False
    for i in range(iterations):
        b = (dense @ hessian - v + rho * d) @ np.linalg.inv(hessian + rho * np.eye(len(s)))
        support = keep(np.abs(b + v / rho))
        d = (b + v / rho) * support
        v = v + rho * (b - d)
        if (i + 1) % 3 == 0:
            change, k = (support != seen).sum(), support.sum()
            seen = support
            if change / k > 0.1:
                grew, rho = True, rho * 1.3
            elif change / k > 0.005:
                grew, rho = True, rho * 1.2
            elif change > 0.5:
                if grew:
                    rho *= 1.1
                else:
                    rho /= 5
                    b, d, v = dense, dense * keep(np.abs(dense)), np.zeros_like(dense)
            elif grew:
                break
            else:
                rho /= 5
            if i >= 30 and change / k < 0.0003:
                break
    kept, found = keep(np.abs(b)), np.zeros_like(dense)
    for row, mask in enumerate(kept):
        found[row, mask] = np.linalg.solve(hessian[np.ix_(mask, mask)], (hessian @ dense[row])[mask])
    return kept, found / s


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("pattern", "keep"),
    [(atv.Unstructured(), lambda score: keep_rows(score, 0.5)), (atv.NOfM(2, 4), keep_groups)],
    ids=["rows", "2:4"],
)
def test_alps_is_its_formula(seed, pattern, keep):
    weight, gram, pool = draw(seed)
    kept, updated = alps(weight, gram, keep)
    made = atv.ALPS(polish=200).prune(torch.tensor(weight), pool, pattern, 0.5)
    assert np.array_equal(made.mask.numpy(), kept)
    assert np.allclose(made.weight.numpy(), updated, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sparsity", [0.5, 0.7])
def test_both_end_below_sparsegpt_on_average_and_keep_its_counts(sparsity):
    totals = dict.fromkeys(("ADMM", "ALPS", "SparseGPT"), 0.0)
    for seed in range(6):
        weight, gram, pool = draw(seed, rows=24, columns=64, tokens=200)
        for name in totals:
            made = getattr(atv, name)().prune(torch.tensor(weight).float(), pool, atv.Unstructured(), sparsity)
            assert set((~made.mask).sum(1).tolist()) == {int(64 * sparsity)} and not made.weight[~made.mask].any()
            totals[name] += error(weight, made.weight.double().numpy(), gram) / error(weight, 0 * weight, gram)
    assert totals["ALPS"] < totals["SparseGPT"] and totals["ADMM"] < 1.05 * totals["SparseGPT"]


@pytest.mark.parametrize("name", ["ADMM", "ALPS"])
def test_a_channel_that_is_never_active_does_no_harm(name):
    weight, gram, _ = draw(5)
    gram[3], gram[:, 3] = 0, 0
    pool = atv.PoolStatistics(torch.tensor(np.sqrt(np.diag(gram))), torch.tensor(gram))
    made = getattr(atv, name)().prune(torch.tensor(weight), pool, atv.Unstructured(), 0.5)
    assert made.weight.isfinite().all() and made.weight.abs().max() < 100
    silent = atv.PoolStatistics(torch.zeros(16), torch.zeros(16, 16, dtype=torch.float64))
    assert getattr(atv, name)().prune(torch.tensor(weight), silent, atv.NOfM(2, 4), 0.5).weight.isfinite().all()


@pytest.mark.parametrize("name", ["ADMM", "ALPS"])
def test_where_nothing_goes_nothing_moves_however_quiet_a_channel_is(name):
    weight, gram, _ = draw(5)
    loud = np.ones(16)
    loud[3], loud[8] = 1e-6, 1e3
    pool = atv.PoolStatistics(torch.ones(16), torch.tensor(gram * np.outer(loud, loud)))
    dense = torch.tensor(weight).float()
    for mask in (None, torch.ones_like(dense, dtype=torch.bool)):
        made = getattr(atv, name)().prune(dense, pool, atv.Unstructured(), 0.0, mask)
        assert made.mask.all() and torch.equal(made.applied_to(dense), dense)


@pytest.mark.parametrize("name", ["ADMM", "ALPS"])
def test_a_linear_of_which_all_goes_is_zero(name):
    weight, _, pool = draw(6)
    made = getattr(atv, name)().prune(torch.tensor(weight).float(), pool, atv.Unstructured(), 1.0)
    assert not made.mask.any() and torch.equal(made.weight, torch.zeros_like(made.weight))


def test_what_is_missing_is_said():
    with pytest.raises(ValueError, match="ALPS needs the pool's gram"):
        atv.ALPS().prune(torch.ones(2, 4), atv.PoolStatistics(torch.ones(4)), atv.Unstructured(), 0.5)
