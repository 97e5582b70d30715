"""Weighted pools against sums over pools written down from the formula, in float64."""

import numpy as np
import pytest
import torch
from helpers.tiny import MIXED, make_batch, make_tokens

import atv
from atv.calibration.calibration_set import numbered_batches, whole_set
from atv.data.labels import IGNORED
from atv.model.lvlm import LVLM

LINEAR = "model.language_model.layers.1.mlp.up_proj"


@pytest.fixture
def labelled(batches):
    """Five samples with pictures and two without, some tokens of each answers; one id occurs often."""
    made = [*batches, make_batch([7, 9], 5, images=False)]
    for batch in made:
        text = (batch["input_ids"] != 7) & batch["attention_mask"].bool()
        batch["input_ids"][text & (batch["input_ids"] < 20)] = 11
        answer = text & (torch.arange(text.shape[1]) % 3 == 0)
        batch["labels"] = torch.where(answer, batch["input_ids"], IGNORED)
    return made


class Watch(atv.WeightedPools):
    """Notes what each sample brings to the block's pool."""

    seen = None

    def select(self, tokens):
        weights = super().select(tokens)
        if tokens.block == 1:
            Watch.seen.append((tokens, weights))
        return weights


def pools(llava, batches, **arguments):
    """(statistics of block 1's up_proj, its inputs by sample, tokens by sample) of a run that prunes nothing away."""
    inputs, found, Watch.seen = [], {}, []

    class Keeps(atv.Criterion):
        needs_gram = True

        def score(self, weight, pool):
            found.setdefault(weight.shape, []).append(pool)
            return weight.float().abs()

    up = llava.get_submodule(LINEAR)
    hook = up.register_forward_pre_hook(lambda module, given: inputs.append(given[0].detach().double()))
    rule = Watch(**arguments)
    rows = numbered_batches(LVLM.of(llava), batches)
    report = atv.prune(
        llava, batches, selection=rule, criterion=Keeps(), sparsity=0.0, propagate=False, targets=[LINEAR]
    )
    hook.remove()
    whole = whole_set(LVLM.of(llava), rows, [rule])
    rows_of = [
        x[row][batch["attention_mask"][row].bool()]
        for batch, x in zip(batches, inputs, strict=True)
        for row in range(len(x))
    ]
    (pool,) = found[up.weight.shape]
    return pool, rows_of, [tokens for tokens, _ in sorted(Watch.seen, key=lambda pair: pair[0].sample)], whole, report


def gram(rows, weights):
    rows, weights = np.concatenate([r.numpy() for r in rows]), np.concatenate(weights)
    return (rows * weights[:, None]).T @ rows / weights.sum()


def check(pool, rows, weights):
    expected = gram(rows, weights)
    np.testing.assert_allclose(pool.gram.numpy(), expected, rtol=2e-5, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(pool.norm.numpy(), np.sqrt(np.diag(expected)), rtol=2e-5)


def test_modalities_are_normalised_by_their_counts(llava, labelled):
    pool, rows, tokens, _, _ = pools(llava, labelled, text=2.0, visual=0.5)
    n_text, n_visual = (sum(int(getattr(t, kind).sum()) for t in tokens) for kind in ("text", "visual"))
    assert (n_visual, len(tokens)) == (45, 7) and n_text != n_visual
    check(pool, rows, [np.where(t.visual, 0.5 / n_visual, 2.0 / n_text) for t in tokens])


def test_answers_and_plain_text_are_pools_of_their_own(llava, labelled):
    pool, rows, tokens, _, _ = pools(llava, labelled, text=1.0, visual=0.0, answers=3.0, plain=0.25)
    plain = [np.full(len(t.visual), not t.visual.any()) for t in tokens]
    answer = [t.answer.numpy() & ~own for t, own in zip(tokens, plain, strict=True)]
    prompt = [t.text.numpy() & ~own & ~said for t, own, said in zip(tokens, plain, answer, strict=True)]
    n = [sum(int(part.sum()) for part in parts) for parts in (plain, answer, prompt)]
    assert min(n) > 5
    weights = [0.25 * a / n[0] + 3 * b / n[1] + c / n[2] for a, b, c in zip(plain, answer, prompt, strict=True)]
    check(pool, rows, weights)


def test_words_weigh_alike_however_often_they_occur(llava, labelled):
    pool, rows, tokens, _, _ = pools(llava, labelled, words=True, visual=0.5)
    text = np.concatenate([t.ids[t.text].numpy() for t in tokens])
    kinds, times = np.unique(text, return_counts=True)
    often = dict(zip(kinds, times, strict=True))
    assert max(times) > 5 * min(times)
    n_visual = sum(int(t.visual.sum()) for t in tokens)
    weights = [
        np.array(
            [0.5 / n_visual if v else 1 / len(kinds) / often[i] for v, i in zip(t.visual, t.ids.numpy(), strict=True)]
        )
        for t in tokens
    ]
    check(pool, rows, weights)
    by_word = {
        word: sum(w[t.ids.numpy() == word].sum() for t, w in zip(tokens, weights, strict=True)) for word in kinds
    }
    assert np.allclose(list(by_word.values()), 1 / len(kinds))


@pytest.mark.parametrize("by_count", [True, False])
def test_picked_visual_tokens_weigh_together_what_is_said(llava, labelled, by_count):
    picks = atv.DriftTopK(alpha=2.0)
    pool, rows, tokens, _, report = pools(llava, labelled, visual=0.3, picks=picks, by_count=by_count)
    drift = np.concatenate([t.drift[t.visual].double().numpy() for t in tokens]).mean()
    entered = []
    for t in tokens:
        best = sorted(np.flatnonzero(t.visual), key=lambda place, t=t: (-float(t.drift[place]), place))
        chosen = np.zeros(len(t.visual), dtype=bool)
        chosen[best[: round(min(1, 2.0 * drift) * t.n_text)]] = True
        entered.append(chosen)
    n_text, n_visual = sum(t.n_text for t in tokens), sum(int(chosen.sum()) for chosen in entered)
    assert 0 < n_visual < 45 and report.blocks[1].selected["both"] == {"text": n_text, "visual": n_visual}
    each = (0.3 / n_visual, 1 / n_text) if by_count else (0.3, 1.0)
    check(pool, rows, [np.where(c, each[0], t.text.numpy() * each[1]) for t, c in zip(tokens, entered, strict=True)])


def test_equal_weights_a_token_are_all_tokens(llava, labelled):
    weighed = pools(llava, labelled, by_count=False)[0]
    assert weighed.norm.isfinite().all()
    rows, tokens = pools(llava, labelled, by_count=False)[1:3]
    check(weighed, rows, [np.ones(len(t.visual)) for t in tokens])


def test_the_whole_set_has_every_token_in_order(llava, labelled):
    _, _, tokens, whole, _ = pools(llava, labelled, answers=1.0)
    for name, values in (("ids", whole.ids), ("visual", whole.visual), ("answer", whole.answer)):
        assert torch.equal(torch.cat([getattr(t, name) for t in tokens]), values)
    assert torch.equal(torch.cat([torch.full_like(t.ids, t.sample) for t in tokens]), whole.sample)


def test_what_the_batches_do_not_say_is_refused_by_name(llava, batches):
    with pytest.raises(ValueError, match="WeightedPools weighs answers, but batch 0 has no labels"):
        atv.prune(llava, batches, selection=atv.WeightedPools(answers=1.0))
    with pytest.raises(ValueError, match="plain: a weight was given, but the calibration set has no such token"):
        atv.prune(llava, batches, selection=atv.WeightedPools(plain=1.0))
    with pytest.raises(ValueError, match="visual: expected 0 or more, got -1"):
        atv.WeightedPools(visual=-1)


def test_other_rules_do_not_see_labels(llava, labelled):
    import copy

    plain = [{key: value for key, value in batch.items() if key != "labels"} for batch in labelled]
    masks = [atv.prune(copy.deepcopy(llava), given).masks for given in (labelled, plain)]
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])


def kept(fraction, rule=None, **where):
    made = make_tokens(MIXED, **where)
    return atv.TextFraction(fraction, rule).select(made), made


@pytest.mark.parametrize(("fraction", "count"), [(0, 0), (0.2, 1), (0.5, 2), (0.8, 3), (1, 4)])
def test_keeps_its_share_of_the_text(fraction, count):
    chosen, made = kept(fraction)
    assert int(chosen.sum()) == count and not (chosen & made.visual).any()


def test_fractions_are_nested_and_the_same_in_every_block():
    for small, large in ((0.2, 0.5), (0.5, 0.8)):
        assert not (kept(small, sample=3)[0] & ~kept(large, sample=3)[0]).any()
    assert kept(0.5, sample=3, block=0)[0].tolist() == kept(0.5, sample=3, block=2)[0].tolist()
    assert len({tuple(kept(0.5, sample=sample)[0].tolist()) for sample in range(20)}) > 3


def test_visual_tokens_and_weights_are_the_other_rules():
    class Half(atv.TokenSelection):
        def select(self, tokens):
            return 0.5 * tokens.text + 0.25 * tokens.visual

    chosen, made = kept(0.5, Half())
    assert sorted(chosen[made.text].tolist()) == [0, 0, 0.5, 0.5]
    assert set(chosen[made.visual].tolist()) == {0.25}


def test_a_fraction_does_not_shift_pools_that_are_weighed_by_count():
    with pytest.raises(ValueError, match="rule: WeightedPools weights a pool by its number of tokens"):
        atv.TextFraction(0.5, atv.WeightedPools())
    assert atv.TextFraction(0.5, atv.WeightedPools(by_count=False)).fraction == 0.5


def test_a_drift_budget_counts_every_text_token(llava, batches):
    import copy

    whole = atv.prune(copy.deepcopy(llava), batches, selection="DriftTopK", propagate=False)
    half = atv.prune(llava, batches, selection=atv.TextFraction(0.5), propagate=False)
    for before, after in zip(whole.blocks, half.blocks, strict=True):
        assert after.selected["both"]["visual"] == before.selected["both"]["visual"]
        assert after.selected["both"]["text"] == 17  # of 35: halves of 5, 8, 6, 12, 4, to even


def test_asks_for_what_the_other_rule_needs(llava, batches):
    for rule in (atv.AttentionTopK(), atv.AMIA()):
        assert atv.prune(llava, batches, selection=atv.TextFraction(0.5, rule)).sparsity == 0.5


AROUND = [lambda rule: atv.WeightedPools(picks=rule), lambda rule: atv.TextFraction(0.5, rule)]


@pytest.mark.parametrize("around", AROUND, ids=["WeightedPools", "TextFraction"])
@pytest.mark.parametrize(
    "need", ["per_linear", *(name for name in vars(atv.TokenSelection) if name.startswith("needs_"))]
)
def test_a_rule_around_another_needs_what_that_one_does(around, need):
    plain, asking = atv.DriftTopK(), atv.DriftTopK()
    setattr(asking, need, True)
    assert getattr(around(asking), need) is True
    assert getattr(around(plain), need) is (need == "needs_whole" and isinstance(around(plain), atv.WeightedPools))


@pytest.mark.parametrize("around", AROUND, ids=["WeightedPools", "TextFraction"])
def test_a_ranking_that_needs_much_gets_it_inside_another_rule(llava, labelled, around):
    class Felt(atv.VisualRanking):
        """Visual tokens by what the Linear makes of them, as far as the block feels it and nobody says it."""

        per_linear = needs_sensitivity = needs_answers = needs_attention = needs_whole = True

        def rank(self, tokens):
            size = tokens.linear_output.float().norm(dim=1) * tokens.sensitivity * tokens.attention
            return torch.where(tokens.answer, 0.0, size) / len(tokens.whole.ids)

    assert atv.prune(llava, labelled, selection=around(Felt())).sparsity == 0.5
