"""AMIA against the paper's steps, written out with full matrices in float64."""

import numpy as np
import pytest
import torch
from helpers.tiny import MIXED, make_tokens

import atv
from atv.selection import Tokens
from atv.selection.similarity import cosines, density


def made(visual, outputs, attention):
    n, outputs = len(visual), torch.as_tensor(outputs, dtype=torch.float32)
    rows = torch.zeros(n, 2)
    shown = {"last_attention": torch.as_tensor(attention, dtype=torch.float32), "dense_output": outputs}
    return Tokens(torch.as_tensor(visual, dtype=torch.bool), torch.arange(n), rows, rows, 0, 0, 0, **shown)


def random_sample(seed, n=14, width=6):
    rng = np.random.default_rng(seed)
    # Few directions and some noise, so that tokens have close neighbours.
    outputs = rng.normal(size=(4, width))[rng.integers(4, size=n)] + 0.3 * rng.normal(size=(n, width))
    attention = rng.dirichlet(np.ones(n))
    return rng.random(n) < 0.6, outputs, attention


def reference_density(z, visual):
    def within(rows):
        pairs = [rows[i] @ rows[j] for i in range(len(rows)) for j in range(i + 1, len(rows))]
        return [np.mean([p for p in pairs if p > 0] or [0])] if pairs else []

    across = [np.mean(z[visual] @ z[~visual].T)] if visual.any() and not visual.all() else []
    parts = within(z[visual]) + within(z[~visual]) + across
    return np.mean(parts) if parts else 0.0


def reference(visual, outputs, attention):
    z = outputs / np.linalg.norm(outputs, axis=1, keepdims=True)
    n, distance = len(z), 1 - z @ z.T
    kernel = np.exp(-((z[:, None] - z[None]) ** 2).sum(-1) / 2)
    near = [sorted((j for j in range(n) if j != i), key=lambda j, i=i: distance[i, j])[:3] for i in range(n)]
    score = np.array([attention[i] + sum(np.exp(-distance[i, j]) * attention[j] for j in near[i]) for i in range(n)])
    limit = 0.1 * np.sqrt(max(1 - reference_density(z, visual), 0))
    chosen = []
    while len(chosen) < n:
        best = int(np.argmax(score))
        for j in near[best]:
            score[j] -= np.exp(-0.2 * distance[best, j]) * max(score[best], 0)
        score[best] = -np.inf
        chosen.append(best)
        mmd = kernel.mean() + kernel[np.ix_(chosen, chosen)].mean() - 2 * kernel[:, chosen].mean()
        if mmd < limit:
            break
    return sorted(chosen)


@pytest.mark.parametrize("seed", range(40))
def test_takes_the_tokens_of_the_papers_steps(seed):
    sample = random_sample(seed)
    chosen = atv.AMIA().select(made(*sample))
    assert chosen.nonzero().flatten().tolist() == reference(*sample)
    assert 0 < chosen.sum() < 14


@pytest.mark.parametrize("seed", range(10))
def test_density_is_the_mean_of_three(seed):
    visual, outputs, _ = random_sample(seed)
    z = outputs / np.linalg.norm(outputs, axis=1, keepdims=True)
    found = density(cosines(torch.as_tensor(outputs)), torch.as_tensor(visual))
    assert found.item() == pytest.approx(reference_density(z, visual), abs=1e-6)


@pytest.mark.parametrize("visual", [[0, 0, 0], [1, 1, 1], [0], [1], [0, 1]])
def test_samples_of_one_modality_or_a_few_tokens_work(visual):
    rng = np.random.default_rng(0)
    outputs, attention = rng.normal(size=(len(visual), 4)), np.full(len(visual), 1 / len(visual))
    chosen = atv.AMIA().select(made(visual, outputs, attention)).nonzero().flatten().tolist()
    assert chosen == reference(np.array(visual, dtype=bool), outputs, attention)


def test_alike_tokens_are_stood_for_by_one():
    """With no tolerance at all, tokens are taken until none is left or what is left adds nothing."""
    same = np.ones((5, 3))
    assert atv.AMIA().select(made([0, 1, 1, 0, 1], same, np.full(5, 0.2))).sum() in (1, 5)


def test_the_order_of_tokens_and_scaling_do_not_matter():
    visual, outputs, attention = random_sample(1)
    order = np.random.default_rng(0).permutation(len(visual))
    plain = atv.AMIA().select(made(visual, outputs, attention)).numpy()
    turned = atv.AMIA().select(made(visual[order], 7 * outputs[order], attention[order])).numpy()
    assert np.array_equal(turned, plain[order])


def test_every_linear_has_a_pool_of_its_own(llava, batches):
    seen = set()

    class Notes(atv.AMIA):
        def select(self, tokens):
            chosen = super().select(tokens)
            if len(tokens.visual) < 64:  # The rule was tried on made-up tokens, which are 64.
                seen.add((tokens.linear.rsplit(".", 1)[-1], tokens.linear_output.shape[1], int(chosen.sum())))
            return chosen

    report = atv.prune(llava, batches, selection=Notes())
    assert {(name, width) for name, width, _ in seen} == {
        *((name, 32) for name in ("q_proj", "k_proj", "v_proj", "o_proj", "down_proj")),
        *((name, 48) for name in ("gate_proj", "up_proj")),
    }
    assert len({count for *_, count in seen}) > 1
    assert report.blocks[0].selected["both"]["text"] < 35


def test_is_one_minus_the_mean_cosine_to_the_other_visual_tokens():
    made = make_tokens(MIXED, hidden=5)
    rank = atv.DiversityTopK().rank(made)
    rows = made.input.double().numpy()
    visual = [i for i, v in enumerate(MIXED) if v]
    for i in visual:
        cosines = [rows[i] @ rows[j] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j]) for j in visual if j != i]
        assert rank[i].item() == pytest.approx(1 - np.mean(cosines), abs=1e-6)


def test_a_single_visual_token_scores_zero():
    assert atv.DiversityTopK().rank(make_tokens([0, 1, 0]))[1] == 0


def test_the_order_of_tokens_does_not_matter():
    made = make_tokens(MIXED)
    order = torch.randperm(len(MIXED), generator=torch.Generator().manual_seed(0))
    turned = Tokens(made.visual[order], made.position, made.input[order], made.output[order], 0, 0, 0)
    assert torch.allclose(atv.DiversityTopK().rank(turned), atv.DiversityTopK().rank(made)[order], atol=1e-6)
