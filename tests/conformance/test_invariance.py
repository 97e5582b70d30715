"""The contract of evaluation: in float32 an answer depends on its question alone.

Not on how many questions are asked at once, on which side they are padded, on the cache, on the order of rows, or on
the rank that is given a batch. In bfloat16 kernels round otherwise for other shapes: there flips are counted, and each
must be one that rounding explains.
"""

import copy
import tempfile
import warnings

import pytest
import torch
from conformance.layout import collated, make_row
from conformance.table import TYPES, build
from transformers import AutoModelForImageTextToText

from atv.model.batch import cast_floats
from atv.model.decoder import visual_token_ids
from atv.model.positions import PADDING_COUNTS, PADDING_COUNTS_DECODING, PICTURES_COUNT, require_own_positions

QUICK = ("gemma3", "idefics3", "internvl", "llava", "qwen2_5_vl")
KINDS = [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in TYPES]
# Its experts are told the modality of the prompt's tokens alone, so that without a cache it fails at the second step.
NEEDS_CACHE = "ernie4_5_vl_moe"
# Types that are refused in batches; Kosmos-2.5 tells them apart in its decoding steps, the others in the first forward.
ALONE = PADDING_COUNTS_DECODING + PICTURES_COUNT
TOLD_AT_ONCE = ("hunyuan_vl", "minimax_m3_vl")
MENDED = "transformers is mended: the type need not be refused"
ROWS = [[3, "image", 4], [2, "image", 9], [1, "image", 2], [6, "image", 5]]
TOKENS = 4


def encoded(kind, places, side="left"):
    """Rows in the order of ``places``, each with the words and pixels that it has alone."""
    layout = TYPES[kind].layout
    made = [make_row(layout, ROWS[place], words=10 * place, pixels=10 * place) for place in places]
    return collated(layout, made, side)


@torch.no_grad()
def answers(model, kind, places, **options):
    """Place -> the tokens that are generated for it."""
    batch = cast_floats(encoded(kind, places), model.dtype)
    settings = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False, "pad_token_id": 0} | options
    # A random model may say an image token, for which a step without cache then wants a picture.
    made = model.generate(**batch, **settings, suppress_tokens=list(visual_token_ids(model)) or None)
    return {place: row[-TOKENS:].tolist() for place, row in zip(places, made, strict=True)}


@torch.no_grad()
def next_logits(model, kind, places, side):
    """(rows, vocabulary): what comes after each row's last token."""
    batch = cast_floats(encoded(kind, places, side), model.dtype)
    last = (batch["attention_mask"] * torch.arange(1, batch["input_ids"].shape[1] + 1)).argmax(1)
    made = model(**batch, use_cache=False).logits
    return made[torch.arange(len(places)), last + made.shape[1] - batch["input_ids"].shape[1]].float()


@pytest.fixture(scope="module", params=KINDS)
def asked(request):
    """Type, model, and what it answers to each question by itself."""
    model = build(request.param)
    alone = {}
    for place in range(len(ROWS)):
        alone |= answers(model, request.param, [place])
    return request.param, model, alone


def test_batch_size_and_order_of_rows(asked):
    kind, model, alone = asked
    if kind in ALONE:
        assert kind in TOLD_AT_ONCE or answers(model, kind, [0, 1, 2, 3]) != alone, MENDED
        with pytest.raises(ValueError, match="--batch_size 1"):
            require_own_positions(model, encoded(kind, [0, 1, 2, 3]), decoding=True)
        require_own_positions(model, encoded(kind, [1]), decoding=True)
        return
    for places in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0], [1, 3]):
        assert answers(model, kind, places) == {place: alone[place] for place in places}


def test_the_cache(asked):
    kind, model, alone = asked
    if kind == NEEDS_CACHE:
        with pytest.raises(IndexError):
            answers(model, kind, [0, 1, 2, 3], use_cache=False)
    else:
        for places in [[0], [1], [2], [3]] if kind in TOLD_AT_ONCE else [[0, 1, 2, 3]]:
            assert answers(model, kind, places, use_cache=False) == {place: alone[place] for place in places}


def test_the_rank_that_is_given_a_batch(asked):
    # What a rank does with a batch is what one process does with it; which batches it is given moves nothing.
    kind, model, alone = asked
    batches = [[0], [1], [2], [3]] if kind in ALONE else [[0, 1], [2], [3]]
    by_rank = [answers(copy.deepcopy(model), kind, places) for rank in (0, 1) for places in batches[rank::2]]
    assert {place: one for made in by_rank for place, one in made.items()} == alone


def test_the_side_of_the_padding(asked):
    kind, model, _ = asked
    alone = torch.cat([next_logits(model, kind, [place], "left") for place in range(len(ROWS))])
    for side in ("left", "right"):
        together = next_logits(model, kind, range(len(ROWS)), side)
        if kind in PICTURES_COUNT or (kind in PADDING_COUNTS and side == "left"):
            assert (together - alone).abs().max() > 1e-3, MENDED
            continue
        assert torch.equal(together.argmax(-1), alone.argmax(-1))
        torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)


def in_bfloat16(model):
    """The model as it is loaded: some modules of some types stay in float32."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.bfloat16).eval()


def test_flips_in_bfloat16_are_counted_and_no_more_than_rounding(asked, record_property):
    kind, model, _ = asked
    if kind in PADDING_COUNTS + PICTURES_COUNT:
        pytest.skip("such batches of this type are refused")
    half, places = in_bfloat16(model), range(len(ROWS))
    alone = torch.cat([next_logits(half, kind, [place], "left") for place in places])
    together = next_logits(half, kind, places, "left")
    flips = int((alone.argmax(-1) != together.argmax(-1)).sum())
    record_property("flips", flips)
    if flips:
        warnings.warn(f"{kind}: {flips} of {len(ROWS)} first tokens flip in bfloat16 between batch sizes", stacklevel=1)
    # Eight bits of mantissa, through a decoder of two blocks.
    assert (alone - together).abs().max() <= 0.06 * alone.abs().max()
