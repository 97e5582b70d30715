"""Questions about one picture, its prefix run once: the answers of every type are those that it gives alone."""

import copy

import pytest
import torch
from conformance.layout import FIRST_WORD, PAD, VOCABULARY, collated, make_row
from conformance.table import TYPES, build
from hypothesis import given
from hypothesis import strategies as st

import atv
from atv.evaluation.decoding import decodes, greedy, whole_prompts
from atv.evaluation.questions import QUESTIONS_A_PICTURE, parted
from atv.evaluation.sharing import Pictures, Prefixes, Sharing
from atv.model.lvlm import LVLM
from atv.pathways import decouple_target, route

NEW_TOKENS = 6
WIDER = TYPES["llava"].config["text_config"] | {"intermediate_size": 96}
# Half of the words end an answer, so that answers of a batch end at different steps.
ENDS = list(range(FIRST_WORD, VOCABULARY, 2))
# Words before a picture, the picture, and the words of each question about it.
ASKED = [(2, "image", [4, 7, 5]), (3, "large", [6, 2])]
ONE_SIZE = {"perception_lm"}  # a batch has as many tiles for every picture
OWN, STATE, OTHER, FOLLOWS = (
    "generates in its own way",
    "its cache keeps more than keys and values",
    "the prefix gives different answers if it is run without the question",
    "follow the tokens",
)
ALONE = {
    "blip-2": OWN,
    "instructblip": OWN,
    "instructblipvideo": OWN,
    "janus": OWN,
    "inkling_mm_model": STATE,
    "lfm2_vl": STATE,
    "lfm3_vl": STATE,
    "qwen3_5": STATE,
    "qwen3_5_moe": STATE,
    "gemma3": OTHER,  # a window of 8 tokens
    "hyperclovax_vision_v2": OTHER,
    "muse_glimmer": OTHER,
    "paligemma": OTHER,  # pictures see the question
    "kosmos-2": FOLLOWS,
    "kosmos-2.5": FOLLOWS,
    "mllama": FOLLOWS,
    "gemma4": FOLLOWS,
    "molmo2": "IndexError",
}
KEEPING_MORE = ("dots3_note", "glm5_next", "inkling2", "minicpm_ocr", "minicpmv4_6", "minicpmv4_7", "minimax_m3_vl")
KEEPING_MORE += ("mistral_large4", "nemotron_h_omni", "qwen4_exp", "unlimited_ocr")
ALONE |= dict.fromkeys(KEEPING_MORE, STATE)
ALONE |= dict.fromkeys(("cohere_compass", "gemma4_unified", "hunyuan_vl", "muse_spark", "step3p7"), OTHER)


def questions(kind, asked=ASKED):
    """All rows and the pictures, as a processor would give them."""
    layout, rows, of = TYPES[kind].layout, [], []
    for picture, (before, part, lengths) in enumerate(asked):
        part = "image" if kind in ONE_SIZE else part
        for number, length in enumerate(lengths):
            ids, kinds, visuals = make_row(layout, [before, part], picture, picture)
            words = torch.randint(
                FIRST_WORD, VOCABULARY, (length,), generator=torch.Generator().manual_seed(10 * picture + number)
            )
            rows.append((ids + words.tolist(), kinds + [0] * length, visuals))
            of.append(picture)
    return collated(layout, rows), Pictures(collated(layout, [rows[of.index(p)] for p in sorted(set(of))]), of)


def generator(model):
    options = {"do_sample": False, "max_new_tokens": NEW_TOKENS, "pad_token_id": PAD, "eos_token_id": ENDS}

    def generate(inputs, loop):
        return model.generate(**inputs, **options, custom_generate=loop)

    return generate


def answers(model, inputs, prefill):
    made = generator(model)(inputs, greedy(prefill) if decodes(model) else None)
    return made[:, inputs["input_ids"].shape[1] :].tolist() if decodes(model) else made.tolist()


def alone(model, inputs):
    """What transformers' own search answers."""
    made = generator(model)(inputs, None)
    return made[:, inputs["input_ids"].shape[1] :].tolist() if decodes(model) else made.tolist()


# One for each way of marking pictures and each reason to ask alone; the slow tests have all types.
QUICK = ("blip-2", "gemma3", "gemma4", "idefics3", "internvl", "kosmos-2", "lfm2_vl", "llava", "llava_next", "mistral3")
QUICK += ("mllama", "paligemma", "perception_lm", "qwen2_5_vl", "qwen3_5", "qwen3_vl", "video_llava")
KINDS = [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in TYPES]


def test_the_quick_types_are_of_every_reason():
    assert set(QUICK) <= set(TYPES) and {ALONE.get(kind) for kind in QUICK} == {None, OWN, STATE, OTHER, FOLLOWS}


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_given_alone(kind, capsys):
    model, (inputs, pictures) = build(kind), questions(kind)
    sharing = Sharing(model, generator(model), NEW_TOKENS)
    prefill, given_inputs = sharing.prefill(inputs, pictures)
    expected = alone(model, inputs)
    assert answers(model, given_inputs, prefill) == expected
    assert answers(model, inputs, whole_prompts) == expected
    said = capsys.readouterr().err
    assert bool(sharing.trial and sharing.trial.equal) == (kind not in ALONE) == (not said)
    assert ALONE.get(kind, "") in said


def decoupled(dense):
    model = copy.deepcopy(dense)
    lvlm = LVLM.of(model)
    route(lvlm)
    draw = torch.Generator().manual_seed(0)
    for name, target in lvlm.prunable.items():
        masks = (torch.rand(2, *target.weight.shape, generator=draw) < 0.7).unbind()
        decouple_target(model, name, target, *map(atv.Pruned, masks))
    return model


@pytest.mark.parametrize("kind", ["llava", "qwen2_5_vl", "qwen3_vl", "idefics3"])
def test_decoupled_pathways_answer_as_they_do_alone(kind):
    model, (inputs, pictures) = decoupled(build(kind)), questions(kind)
    sharing = Sharing(model, generator(model), NEW_TOKENS)
    prefill, shared = sharing.prefill(inputs, pictures)
    assert sharing.trial.equal
    assert answers(model, shared, prefill) == alone(model, inputs) != alone(build(kind), inputs)


def test_models_that_differ_in_values_alone_are_compared_once():
    dense, (inputs, pictures), known = build("llava"), questions("llava"), {}
    halved = copy.deepcopy(dense)
    for weight in halved.parameters():
        weight.data /= 2
    compared = []
    for model in (dense, halved, decoupled(dense), build("llava", text_config=WIDER)):
        runs = []
        generate = generator(model)
        sharing = Sharing(model, lambda *given, run=generate, runs=runs: runs.append(1) or run(*given), 6, known)
        prefill, shared = sharing.prefill(inputs, pictures)
        compared.append(len(runs))
        assert answers(model, shared, prefill) == alone(model, inputs)
    assert compared == [2, 0, 2, 2]


def test_windows_that_reach_over_the_whole_prompt_share_and_shorter_ones_do_not(capsys):
    config = TYPES["gemma3"].config["text_config"]
    inputs, pictures = questions("gemma3")
    model = build("gemma3", text_config=config | {"sliding_window": 64})
    sharing = Sharing(model, generator(model), NEW_TOKENS)
    prefill, shared = sharing.prefill(inputs, pictures)
    assert sharing.trial == (True, 64)
    assert answers(model, shared, prefill) == alone(model, inputs)
    # Rests of equal length need no padding in between, so any window does; of others, only a wide one.
    even = questions("gemma3", [(2, "image", [4, 4]), (3, "image", [4, 4, 4])])
    model = build("gemma3")
    sharing = Sharing(model, generator(model), NEW_TOKENS)
    prefill, shared = sharing.prefill(*even)
    assert sharing.trial == (True, 8)
    assert answers(model, shared, prefill) == alone(model, even[0])
    assert sharing.prefill(inputs, pictures) == (whole_prompts, inputs)
    assert "looks back 8 tokens" in capsys.readouterr().err


def test_answers_leave_as_they_end_and_prefixes_are_run_once():
    model, (inputs, pictures) = build("llava"), questions("llava")
    seen = []

    def note(module, args, kwargs):
        seen.append(tuple(kwargs["input_ids"].shape))

    model.register_forward_pre_hook(note, with_kwargs=True)
    prefixes = Prefixes.find(LVLM.of(model), inputs, pictures)
    made = answers(model, {name: inputs[name] for name in ("input_ids", "attention_mask")}, prefixes.prefill)
    lengths = [next((at + 1 for at, token in enumerate(row) if token in ENDS), NEW_TOKENS) for row in made]
    assert seen[0] == (2, int(prefixes.lengths.max())) and seen[1] == (5, int(prefixes.rest_lengths.max()))
    assert len(set(lengths)) > 1, "all answers end at once, so none can leave early"
    assert seen[2:] == [(sum(length > step for length in lengths), 1) for step in range(1, max(lengths))]


pictures_of_questions = st.lists(st.none() | st.sampled_from("abcdefgh"), max_size=60)


@given(pictures_of_questions, st.integers(1, 5), st.randoms())
def test_every_question_is_in_one_batch_and_its_picture_with_it(pictures, batch_size, random):
    lengths = [random.randrange(20) for _ in pictures]
    batches = list(parted(lengths, pictures, batch_size))
    assert sorted(place for rows, _ in batches for place in rows) == list(range(len(pictures)))
    for rows, of in batches:
        shown = [pictures[row] for row in rows]
        if of:
            named = list(dict.fromkeys(of))
            assert named == list(range(len(named))) and len(named) <= batch_size
            assert len(rows) == len(of) <= QUESTIONS_A_PICTURE * batch_size
            assert [shown[of.index(number)] for number in of] == shown and None not in shown
        else:
            assert len(rows) <= batch_size
            assert batch_size == 1 or all(picture is None or pictures.count(picture) == 1 for picture in shown)
        assert batch_size > 1 or len(rows) == 1
