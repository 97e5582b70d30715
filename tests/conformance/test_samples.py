"""Samples of all kinds, in batches padded on either side, on one type of each kind of layout."""

import copy
import json

import pytest
import torch
from conformance.checks import CHECKS, logits, pathways, visual_mask
from conformance.make import PAGE
from conformance.page import page
from conformance.support import REFUSED, facts, refusal, untried
from conformance.table import TYPES, Samples, build, usual_samples

import atv
from atv.commands.models import TABLE
from atv.model.lvlm import LVLM
from atv.model.positions import PADDING_COUNTS, PICTURES_COUNT
from atv.runtime.trainer import quiet_trainer

KINDS = ["llava", "llava_next", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "idefics3", "gemma3", "mistral3"]
ROWS = {
    "several pictures": [["image", 3, "image", 2], ["image", 5, "image", 1]],
    "several turns": [[2, "image", 4, 5, "image", 3, 6], [1, "image", 2, 3, 4]],
    "another number of pictures each": [["image", 3, "large", 2, "image", 1], ["image", 9]],
    "text beside pictures": [[4, "image", 3], [12], [1, "large", 2]],
    "text alone": [[6], [11]],
}


def quick(model, batches, **options):
    return atv.prune(copy.deepcopy(model), batches, trainer=quiet_trainer(enable_progress_bar=False), **options)


@pytest.fixture(scope="module")
def model_of():
    made = {}
    return lambda kind: made.setdefault(kind, build(kind))


def quickly(kinds, of=KINDS):
    """These types in the quick tests, the others in the slow ones."""
    return [kind if kind in kinds else pytest.param(kind, marks=pytest.mark.slow) for kind in of]


@pytest.mark.parametrize("what", ROWS)
@pytest.mark.parametrize("kind", KINDS)
def test_samples_of_all_kinds(model_of, kind, what, side="left"):
    model, samples = model_of(kind), Samples(TYPES[kind].layout, [ROWS[what]], side)
    for check in (logits, visual_mask, pathways):
        check(model, samples)
    (batch,) = samples.batches()
    visual = int(LVLM.of(model).visual(batch).sum())
    text = int(batch["attention_mask"].sum()) - visual
    assert all(block.tokens == {"text": text, "visual": visual} for block in quick(model, [batch]).blocks)


# Of a tower's plain tokens, and of one whose positions have three parts.
@pytest.mark.parametrize("what", ROWS)
@pytest.mark.parametrize("kind", quickly(("llava", "qwen2_5_vl")))
def test_samples_padded_on_the_right(model_of, kind, what):
    test_samples_of_all_kinds(model_of, kind, what, "right")


@pytest.mark.parametrize("kind", quickly(("llava", "qwen2_5_vl", "idefics3")))
def test_padding_and_batching_move_at_most_a_thousandth_of_the_masks(model_of, kind):
    layout, rows = TYPES[kind].layout, [row for what in ROWS for row in ROWS[what]]
    alone = quick(model_of(kind), Samples(layout, [[row] for row in rows]).batches()).masks
    for side in ("left", "right"):
        together = quick(model_of(kind), Samples(layout, [rows[:5], rows[5:]], side).batches()).masks
        differing = sum(int((alone[name] != together[name]).sum()) for name in alone)
        assert differing <= 0.001 * sum(mask.numel() for mask in alone.values())


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl", "llava_onevision", "video_llava", "perception_lm"])
def test_pictures_and_clips_in_one_sample(model_of, kind):
    samples = Samples(TYPES[kind].layout, [[[2, "image", 3, "video", 1], ["video", 4, "video", 2]]])
    for check in (logits, visual_mask, pathways):
        check(model_of(kind), samples)


@pytest.mark.parametrize("kind", PADDING_COUNTS + PICTURES_COUNT)
def test_types_that_read_a_batch_otherwise_than_its_samples_are_given_them_one_by_one(model_of, kind):
    together = Samples(TYPES[kind].layout, [ROWS["several turns"]]).batches()
    with pytest.raises(ValueError, match=f"transformers' {kind} reads prompts .* use --batch_size 1"):
        quick(model_of(kind), together)


MLLAMA = TYPES["mllama"].layout
SEEN, UNSEEN = [[3, "image", 4], [1, "image", 6]], [[7], [4]]


def test_cross_attention_blocks_count_only_forwards_with_pictures(model_of):
    logits(model_of("mllama"), Samples(MLLAMA, [SEEN, UNSEEN]))
    blocks = quick(model_of("mllama"), Samples(MLLAMA, [UNSEEN, SEEN]).batches()).blocks
    assert [block.tokens["text"] for block in blocks] == [31, 18, 31]
    with pytest.raises(ValueError, match="no sample reached block 1"):
        quick(model_of("mllama"), Samples(MLLAMA, [UNSEEN]).batches())


def test_cross_attention_has_no_visual_token_to_select(model_of):
    batches = Samples(MLLAMA, [SEEN]).batches()
    masks = {rule: quick(model_of("mllama"), batches, selection=rule).masks for rule in ("AllTokens", "TextOnly")}
    masks["DriftTopK"] = quick(model_of("mllama"), batches).masks
    first, *others = masks.values()
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)
    with pytest.raises(ValueError, match="VisualOnly picked no token"):
        quick(model_of("mllama"), batches, selection="VisualOnly")


# Their towers and projectors do not cast the pixels, which processors give in float32.
UNCAST = ["fast_vlm", "fuyu", "lfm3_vl", "aria", "chameleon", "kosmos-2.5", "llama4"]


@pytest.mark.filterwarnings("ignore:block .* fewer than")
@pytest.mark.parametrize("kind", quickly(UNCAST[:3], UNCAST))
def test_pixels_are_brought_to_the_dtype_of_the_model(kind):
    model, batches = build(kind).to(torch.bfloat16), usual_samples(kind).batches()
    assert quick(model, batches).sparsity > 0.4
    linears = list(LVLM.of(model).linears)
    assert quick(model, batches, allocation="BlockInfluence", propagate=False, targets=linears).sparsity > 0.4


STORED = json.loads(TABLE.read_text())
RENEW = "`make models` renews the table"


@pytest.mark.filterwarnings("ignore:block .* fewer than")
@pytest.mark.parametrize("kind", TYPES)
def test_a_type_does_what_the_table_says(kind):
    stored, model = STORED["types"][kind], build(kind)
    for check in CHECKS:
        if check.__name__ in stored["failed"]:
            with pytest.raises(Exception) as error:
                check(model, usual_samples(kind))
            assert f"{error.type.__name__}: {error.value}" == stored["failed"][check.__name__], RENEW
        else:
            check(model, usual_samples(kind))
    assert facts(kind, model) == {key: value for key, value in stored.items() if key != "failed"}, RENEW


@pytest.mark.parametrize("kind", REFUSED)
def test_types_that_cannot_work_are_refused_by_name(kind):
    assert refusal(kind) == STORED["refused"][kind], RENEW


def test_the_table_has_every_type_and_at_least_thirty_that_pass_everything():
    assert list(STORED["types"]) == list(TYPES) and list(STORED["refused"]) == list(REFUSED), RENEW
    assert list(STORED["checks"]) == [check.__name__ for check in CHECKS], RENEW
    assert sum(not row["failed"] for row in STORED["types"].values()) >= 30


def test_every_type_of_transformers_is_in_the_table():
    assert STORED["untried"] == untried(), RENEW
    assert not STORED["untried"].keys() & (STORED["types"].keys() | STORED["refused"].keys())


def test_the_page_is_made_of_the_table():
    assert PAGE.read_text() == page(STORED), RENEW
