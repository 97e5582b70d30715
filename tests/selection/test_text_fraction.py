import pytest
from helpers.tiny import MIXED, make_tokens

import atv


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


def test_a_bad_fraction_is_refused():
    with pytest.raises(ValueError, match=r"fraction: expected a number in \[0, 1\], got 1.5"):
        atv.TextFraction(1.5)
