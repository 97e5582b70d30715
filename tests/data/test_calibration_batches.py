import pytest
import torch
from helpers.layouts import ANSWER, QUESTION, Listed, jpg, picture, turns
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from rich.console import Console
from torch.nn import functional as F

from atv.bundled.architecture import build_processor
from atv.data import Bundled, Conversation
from atv.data.calibration_batches import SampleDraw, calibration_batches, require_samples
from atv.data.conversations import messages
from atv.data.labels import ended, has_answer, labelled
from atv.finetuning.batches import ConversationBatches, Lessons

IMAGE = 2
PATCHES = 81


@pytest.fixture(scope="module")
def processor():
    return build_processor()


def good(count, broken=()):
    pictures = [[jpg(number)[: 60 if number in broken else None]] for number in range(count)]
    return Listed([Conversation(f"s{number}", turns(), own) for number, own in enumerate(pictures)])


def test_the_seed_draws_the_samples_and_the_record_names_them(processor):
    data = good(40)
    drawn = [calibration_batches(processor, data, 10, seed, batch_size=4) for seed in (0, 0, 1)]
    assert [len(batch["input_ids"]) for batch in drawn[0]] == [4, 4, 2]
    assert all(torch.equal(a["pixel_values"], b["pixel_values"]) for a, b in zip(drawn[0], drawn[1], strict=True))
    ids = [batches.record["ids"] for batches in drawn]
    assert ids[0] == ids[1] != ids[2] and len(set(ids[0])) == 10
    brightness = [float(image[0].mean()) for batch in drawn[0] for image in batch["pixel_values"]]
    assert sorted(range(10), key=brightness.__getitem__) == sorted(range(10), key=lambda i: int(ids[0][i][1:]))


def test_the_bundled_pool_is_drawn_by_row(processor):
    record = calibration_batches(processor, Bundled(), 3, seed=5).record
    assert record["data"] == {"class": "Bundled"} and all(id.startswith("row ") for id in record["ids"])


def test_data_are_named_by_a_path_and_what_is_no_data_is_refused(processor, tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(f"caption {number}")
        (tmp_path / f"{number}.jpg").write_bytes(jpg(number))
    one, other = (calibration_batches(processor, given, 2).record for given in (tmp_path, str(tmp_path)))
    assert one["data"] == other["data"]
    for given in (None, [Conversation("a", turns(), [])]):
        with pytest.raises(ValueError, match=rf"^calibration: expected a name.*, got {type(given).__name__};"):
            calibration_batches(processor, given)


def test_a_broken_picture_is_named_and_replaced_by_the_next(processor, capsys):
    whole = calibration_batches(processor, good(60), 21).record["ids"]
    second = int(whole[1][1:])
    batches = calibration_batches(processor, good(60, broken=[second]), 20)
    assert batches.record["ids"] == [whole[0], *whole[2:]]
    (broken,) = batches.record["broken"]
    assert broken["id"] == f"s{second}" and "cannot be read" in broken["reason"]
    assert sum(len(batch["input_ids"]) for batch in batches) == 20
    assert f"s{second}" in capsys.readouterr().err


def test_other_ranks_are_quiet(processor, capsys, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    drawn = calibration_batches(processor, good(60), 20).record["ids"]
    assert calibration_batches(processor, good(60, broken=[int(drawn[0][1:])]), 20).record["broken"]
    assert capsys.readouterr().err == ""


def test_more_than_five_percent_broken_is_an_error(processor):
    drawn = [int(id[1:]) for id in calibration_batches(processor, good(60), 40).record["ids"]]
    assert len(calibration_batches(processor, good(60, drawn[:2]), 40).record["broken"]) == 2
    with pytest.raises(ValueError, match=f"calibration: 3 of 40 samples .* more than 5%; the last one: 's{drawn[2]}'"):
        list(calibration_batches(processor, good(60, drawn[:3]), 40))


@pytest.mark.parametrize(
    ("conversation", "reason"),
    [
        (Conversation("x", turns("<image> <image>"), [jpg(1)]), "2 <image> in the turns for 1 pictures"),
        (Conversation("x", turns()), "1 <image> in the turns for 0 pictures"),
        (Conversation("x", [{"from": "robot", "value": "beep"}]), "a turn by 'robot'"),
        (Conversation("x", [{"from": "human", "value": None}]), "without value, text or content"),
    ],
)
def test_samples_that_make_no_sense_count_as_broken(processor, conversation, reason):
    with pytest.raises(ValueError, match="1 of 1 samples cannot be used") as error:
        list(calibration_batches(processor, Listed([conversation]), 1))
    assert "'x'" in str(error.value) and reason in str(error.value)


@pytest.mark.parametrize("samples", [0, 4])
def test_more_samples_than_there_are(processor, samples):
    with pytest.raises(ValueError, match=r"samples: expected 1 to 3 \(the data's samples\), got"):
        calibration_batches(processor, good(3), samples)


def test_those_for_validation_count_as_well():
    require_samples(good(3), 2, validation=1)
    with pytest.raises(ValueError, match=r"samples: expected 1 to 3 .*, got 2, and 2 for validation"):
        require_samples(good(3), 2, validation=2)
    with pytest.raises(ValueError, match="validation: expected 0 or more, got -1"):
        require_samples(good(3), 2, validation=-1)


@pytest.mark.parametrize(("field", "value", "least"), [("batch_size", 0, 1), ("seed", -1, 0), ("max_length", 0, 1)])
def test_numbers_that_are_too_small(processor, field, value, least):
    with pytest.raises(ValueError, match=f"^{field}: expected {least} or more, got {value}$"):
        calibration_batches(processor, good(3), 2, **{field: value})


def test_pictures_of_every_number_in_every_place(processor):
    two = [*turns("<image> "), {"from": "human", "value": f"{QUESTION} <image>"}, {"from": "gpt", "value": "star"}]
    rows = [Conversation("none", turns("")), Conversation("two", two, [picture(1), jpg(250)])]
    batches = calibration_batches(processor, Listed(rows), 2)
    assert [len(batch["input_ids"]) for batch in batches] == [1, 1] and batches.record["ids"] == ["two", "none"]
    text = next(batch for batch in batches if "pixel_values" not in batch)
    seen = next(batch for batch in batches if "pixel_values" in batch)
    assert processor.tokenizer.decode(text["input_ids"][0]).split()[1:-1] == [
        *QUESTION.split(), "<assistant>", *ANSWER.split()
    ]  # fmt: skip
    words = processor.tokenizer.decode(seen["input_ids"][0]).split()
    assert words == [
        "<user>", *["<image>"] * PATCHES, *QUESTION.split(), "<assistant>", *ANSWER.split(), "<end>",
        "<user>", *QUESTION.split(), *["<image>"] * PATCHES, "<assistant>", "star", "<end>",
    ]  # fmt: skip
    assert seen["pixel_values"][0, 0].mean() < 0 < seen["pixel_values"][1, 0].mean()


class TestLongSamples:
    LONG = Conversation(
        "long",
        [
            *turns("<image>\n"),
            {"from": "human", "value": f"<image>\n{QUESTION}"},
            {"from": "gpt", "value": " ".join(["star"] * 50)},
        ],
        [jpg(1), jpg(2)],
    )
    FIRST = 3 + PATCHES + len(QUESTION.split()) + len(ANSWER.split())

    def cut(self, processor, max_length, conversation=LONG):
        batches = calibration_batches(processor, Listed([conversation]), 1, max_length=max_length)
        return batches.record["shortened"], processor.tokenizer.decode(batches[0]["input_ids"][0]).split(), batches[0]

    def test_the_last_exchange_goes_first_with_its_picture(self, processor):
        shortened, words, batch = self.cut(processor, 2 * PATCHES)
        assert shortened == 1 and len(words) == self.FIRST and words.count("<image>") == PATCHES
        assert len(batch["pixel_values"]) == 1

    @pytest.mark.parametrize("lost", [1, 2, 3, 5])
    def test_then_the_end_of_the_last_text(self, processor, lost):
        _, words, _ = self.cut(processor, self.FIRST - lost)
        kept = [*QUESTION.split(), *ANSWER.split()][: -lost or None]
        assert len(words) == self.FIRST - lost and words.count("<image>") == PATCHES and words[-1] == "<end>"
        assert [word for word in words if not word.startswith("<")] == kept

    def test_short_samples_stay(self, processor):
        shortened, words, _ = self.cut(processor, 500)
        assert shortened == 0 and words.count("star") == 51

    def test_a_picture_is_never_cut(self, processor):
        with pytest.raises(ValueError, match=r"'long': \d+ tokens over max_length 50 even without text"):
            self.cut(processor, 50)


def test_a_processor_without_chat_template(processor):
    bare = build_processor()
    bare.chat_template = None
    with pytest.raises(ValueError, match=r"model: its processor \(LlavaProcessor\) has no chat template"):
        calibration_batches(bare, good(1), 1)


PICTURE = Image.new("RGB", (54, 54), "white")
SHORT = [{"role": "user", "text": "what color is the circle ?"}, {"role": "assistant", "text": "red"}]
LONG = [*SHORT, {"role": "user", "text": "what is the capital of france ?"}, {"role": "assistant", "text": "paris"}]

# A second picture after the first answer.
LATER = [
    {"role": "user", "text": "<image> what color is the circle ?"},
    {"role": "assistant", "text": "red"},
    {"role": "user", "text": "<image> what color is the square ?"},
    {"role": "assistant", "text": "blue"},
]


def chats(*conversations):
    """Turns with the number of their pictures, as a batch."""
    return [messages(turns, count) for turns, count in conversations], [[PICTURE] * n for _, n in conversations if n]


@pytest.mark.parametrize("side", ["left", "right"])
def test_answers_and_their_ends_are_labelled_and_nothing_else(bundled, side, monkeypatch):
    _, processor = bundled
    monkeypatch.setattr(processor.tokenizer, "padding_side", side)
    batch = labelled(processor, *chats((SHORT, 1), (LONG, 1), (LATER, 2)))
    for ids, labels, said in zip(
        batch["input_ids"], batch["labels"], (["red"], ["red", "paris"], ["red", "blue"]), strict=True
    ):
        kept = labels != -100
        assert torch.equal(labels[kept], ids[kept])
        assert processor.tokenizer.convert_ids_to_tokens(labels[kept]) == [w for word in said for w in (word, "<end>")]
        # Each answer stands behind the word that opens the assistant's turn.
        opens = torch.cat([ids[:1], ids[:-1]]) == processor.tokenizer.convert_tokens_to_ids("<assistant>")
        assert int((opens & kept).sum()) == len(said)


def test_the_loss_is_that_of_transformers_on_answers_alone(bundled):
    model, processor = bundled
    batch = labelled(processor, *chats((SHORT, 1), (LONG, 1)))
    with torch.no_grad():
        loss = model(**batch).loss
        logits = model(**{key: value for key, value in batch.items() if key != "labels"}).logits
    tokenizer, terms = processor.tokenizer, []
    for row, dialogue in enumerate((SHORT, LONG)):
        words = tokenizer.convert_ids_to_tokens(batch["input_ids"][row])
        for place, word in enumerate(words):
            if word == "<assistant>":
                for predicts in (place, place + 1):
                    target = batch["input_ids"][row, predicts + 1]
                    terms.append(F.cross_entropy(logits[row, predicts], target))
        assert words.count("<assistant>") == len(dialogue) // 2
    torch.testing.assert_close(loss, torch.stack(terms).mean())


# As LLaVA-1.5's: nothing stands behind an answer but a blank.
OPEN = (
    "{% for m in messages %}<{{ m['role'] }}> {% for part in m['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }} {% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def test_training_ends_the_answers_that_a_template_leaves_open():
    processor = build_processor()
    data = Listed([Conversation("s", LONG, [PICTURE])])

    def labels(batch):
        return processor.tokenizer.convert_ids_to_tokens(batch["labels"][batch["labels"] != -100])

    def lessons():
        drawing = SampleDraw(processor, data, 1, None, Console(), answers=True)
        return labels(ConversationBatches(Lessons.draw(drawing, 1, 0).all_samples, drawing, [[0]])[0])

    assert lessons() == ["red", "<end>", "paris", "<end>"]
    processor.chat_template = OPEN
    assert lessons() == ["red", "<end>", "paris", "<end>"]
    assert labels(labelled(processor, *chats((LONG, 1)))) == ["red", "paris"]
    processor.tokenizer.eos_token = None
    with pytest.raises(ValueError, match="neither its chat template nor its tokenizer says how an answer ends"):
        lessons()


def test_an_answer_that_has_its_end_is_given_no_other(bundled, monkeypatch):
    _, processor = bundled
    monkeypatch.setattr(processor, "chat_template", OPEN)
    (chat,), _ = chats((LONG, 1))
    once = ended(processor, chat)
    assert ended(processor, once) == once and [m["content"][-1]["text"] for m in once[1::2]] == [
        "red<end>",
        "paris<end>",
    ]


def test_turns_without_text_are_no_answers():
    asked, answered = messages(SHORT, 0)
    assert has_answer([asked, answered])
    cut = answered | {"content": [{"type": "text", "text": " "}]}
    assert not has_answer([asked, cut]) and not has_answer([asked]) and has_answer([asked, answered, asked, cut])


def test_what_cannot_be_labelled_is_said(bundled, monkeypatch):
    _, processor = bundled
    turn = "<{{ message['role'] }}> {{ message['content'][-1]['text'] }} "
    backwards = "{% for message in messages | reverse %}" + turn + "{% endfor %}"
    monkeypatch.setattr(processor, "chat_template", backwards)
    with pytest.raises(ValueError, match="does not write a conversation turn after turn"):
        labelled(processor, *chats((LONG, 0)))
