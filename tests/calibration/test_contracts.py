"""Plug-ins that break their contract are told so before a sample is read; those that keep it are left alone."""

import json

import pytest
import torch
from helpers.tiny import never_read

import atv
from atv.calibration.contracts import check_contracts
from atv.calibration.pathway_plan import PathwayPlan


class KeepsTensors(atv.TokenSelection):
    """Text tokens; it keeps what it saw."""

    def __init__(self) -> None:
        self.seen = torch.zeros(3)
        self.calls: list[int] = []

    def select(self, tokens):
        self.seen, self.calls = tokens.input, [*self.calls, tokens.sample]
        return tokens.text


def refused(llava, message, **rules):
    with pytest.raises(ValueError, match=message) as caught:
        atv.prune(llava, never_read(), **rules)
    assert "\n" not in str(caught.value)


def test_a_rule_may_keep_what_it_likes_on_itself(llava, batches, tmp_path):
    rule = KeepsTensors()
    report = atv.prune(llava, batches, selection=rule, run_dir=tmp_path)
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["settings"]["plans"]["both"]["selection"] == {"class": "KeepsTensors"}
    # The trial saw a copy: every call is of a real sample, block by block.
    assert rule.calls == [0, 1, 2, 3, 4] * len(report.blocks)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (lambda tokens: tokens.text[:-1], r"selection: Bad\.select returned weights of shape \(63,\) for 64 tokens"),
        (lambda tokens: tokens.position, r"selection: Bad\.select returned torch.int64; expected bools or floats"),
        (lambda tokens: tokens.text.tolist(), r"selection: Bad\.select returned a list; expected a tensor"),
        (
            lambda tokens: tokens.visual.logical_not_(),
            r"selection: Bad\.select changes its input tokens\.visual in place",
        ),
        (lambda tokens: tokens.attention > 0, "must set needs_attention = True"),
        (lambda tokens: tokens.visuals, "selection: Bad fails on made-up input: AttributeError: .*visuals"),
    ],
)
def test_what_select_returns_is_tried(llava, chosen, message):
    class Bad(atv.TokenSelection):
        def select(self, tokens):
            return chosen(tokens)

    refused(llava, message, selection=Bad())


def test_candidates_need_a_decision(llava):
    class Undecided(atv.TextOnly):
        def candidates(self, tokens):
            return tokens.position[tokens.visual]

    refused(llava, "selection: Undecided returns candidates but does not define decide", selection=Undecided())

    class Named(Undecided):
        def candidates(self, tokens):
            return tokens.visual

    refused(llava, r"selection: Named\.candidates must return indices of tokens", selection=Named())


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (lambda tokens: None, r"returned a NoneType; expected scores \(64,\), one per token"),
        (
            lambda tokens: tokens.drift[tokens.visual],
            r"returned scores \(40,\); expected scores \(64,\), one per token",
        ),
        (lambda tokens: tokens.drift / 0 * 0, "returned NaN for a visual token of sample 0 at block 0"),
        (
            lambda tokens: tokens.input.float().abs_().sum(1),
            r"changes its input tokens\.input in place; work on a copy",
        ),
    ],
)
def test_scores_of_tokens_are_tried(llava, scores, message):
    class Ranked(atv.VisualRanking):
        def rank(self, tokens):
            return scores(tokens)

    refused(llava, rf"selection: Ranked\.rank {message}", selection=Ranked())


def test_a_rule_by_linear_is_tried_on_a_real_name(llava, batches):
    seen = []

    class FFN(atv.TokenSelection):
        per_linear = True

        def select(self, tokens):
            seen.append(llava.get_submodule(tokens.linear))
            return tokens.text if ".mlp." in tokens.linear else tokens.text | tokens.visual

    assert atv.prune(llava, batches, selection=FFN()).sparsity == 0.5
    assert isinstance(seen[0], torch.nn.Linear)


def test_a_constructors_argument_must_be_kept(llava):
    class Forgets(atv.Criterion):
        def __init__(self, power=2.0):
            self._power = power

        def score(self, weight, pool):
            return weight.float().abs() ** self._power

    refused(llava, "criterion: Forgets has no attribute 'power'", criterion=Forgets())


def test_scores_are_tried(llava):
    class Half(atv.Criterion):
        def score(self, weight, pool):
            return weight.abs().half()

    refused(llava, "criterion: Half returned scores in torch.float16; expected float32 or float64", criterion=Half())


def test_a_criterion_of_experts_is_tried_as_on_their_last_projection():
    class BySaliency(atv.Criterion):
        needs_saliency = True

        def score(self, weight, pool):
            return torch.full(weight.shape, pool.saliency / weight.numel(), dtype=torch.float64)

    plan = PathwayPlan(atv.TextOnly(), BySaliency(), atv.Unstructured(), atv.Uniform(), 0.5)
    check_contracts(plan, torch.float32)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (lambda score: score.argsort(-1), r"returned torch.int64 \(64, 64\); expected torch.bool \(64, 64\)"),
        (lambda score: None, r"returned a NoneType; expected torch.bool \(64, 64\)"),
        (lambda score: (score > 0.5)[:1], r"returned torch.bool \(1, 64\); expected torch.bool \(64, 64\)"),
        (lambda score: score >= 0, r"prunes 0\.0% of a weight; expected 50\.0%, as requested"),
        (lambda score: score < 0, r"prunes 100\.0% of a weight; expected 50\.0%, as requested"),
    ],
)
def test_masks_are_tried(llava, mask, message):
    class Bad(atv.Pattern):
        sparsity = None

        def mask(self, score, sparsity):
            return mask(score)

    refused(llava, rf"pattern: Bad\.mask {message}", pattern=Bad())


def test_masks_of_linears_that_compete_are_checked(llava, batches):
    class Some(atv.PerBlock):
        def masks(self, scores, sparsities):
            return dict(list(super().masks(scores, sparsities).items())[-1:])

    with pytest.raises(
        ValueError, match=r"pattern: Some\.masks returned a NoneType for .*q_proj; expected torch\.bool"
    ):
        atv.prune(llava, batches, pattern=Some())


class Writes(atv.Criterion):
    """Scores a weight in its own place, at made-up input or at real."""

    def __init__(self, real=False):
        self.real = real

    def score(self, weight, pool):
        pool.norm.mul_(1) if self.real and len(weight) != 64 else None
        return weight.float().abs() if self.real else weight.float().abs_()


class Moves(atv.Refinement):
    def refine(self, weight, mask, pool, width):
        return mask.logical_not_()


class Fills(atv.Reconstruction):
    needs_gram = True

    def reconstruct(self, weight, mask, pool):
        pool.gram.diagonal().add_(1)
        return weight


@pytest.mark.parametrize(
    ("option", "step", "named"),
    [
        ("criterion", Writes(), r"Writes\.score changes its input weight"),
        ("refine", Moves(), r"Moves\.refine changes its input mask"),
        ("reconstruct", Fills(), r"Fills\.reconstruct changes its input pool\.gram"),
    ],
)
def test_what_a_step_is_given_is_not_its_own(llava, option, step, named):
    refused(llava, rf"{option}: {named} in place; work on a copy \(\.clone\(\)\)", **{option: step})


def test_real_input_is_watched_as_well(llava, batches):
    message = r"criterion: Writes\.score changes its input pool\.norm in place; .* \(.*layers\.0\.self_attn\.q_proj\)"
    with pytest.raises(ValueError, match=message):
        atv.prune(llava, batches, criterion=Writes(real=True))


@pytest.mark.parametrize(("kept", "gone"), [(True, "0.0"), (False, "100.0")])
def test_the_share_that_a_pattern_implies_is_tried(llava, kept, gone):
    class Whole(atv.Pattern):
        sparsity = 0.5

        def mask(self, score, sparsity):
            return torch.full_like(score, kept, dtype=torch.bool)

    refused(llava, rf"pattern: Whole\.mask prunes {gone}% of a weight; expected 50\.0%", pattern=Whole())


def test_promised_methods_are_missed(llava):
    class Dense(atv.Uniform):
        needs_dense = True

    class Joint(atv.Unstructured):
        joint = True

    refused(llava, "allocation: Dense promises the method measure but does not define it", allocation=Dense())
    refused(llava, "pattern: Joint promises the method masks", pattern=Joint())

    class Listed(atv.Uniform):
        def allocate(self, linears, sparsity, dense):
            return [sparsity] * len(linears)

    refused(llava, r"allocation: Listed\.allocate returned a list", allocation=Listed())


def test_made_up_input_that_a_rule_is_not_for_refuses_nothing(llava, batches):
    class OfKnownSamples(atv.TokenSelection):
        """Has an entry for each real sample, of its length."""

        def select(self, tokens):
            if len(tokens.visual) > 40:
                raise IndexError("more tokens than any sample has")
            return tokens.text

    expected = atv.prune(llava, batches, selection=OfKnownSamples()).sparsity
    assert expected == 0.5
