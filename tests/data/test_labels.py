import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from atv.bundled import BUNDLED_MODEL
from atv.data.conversations import messages
from atv.data.labels import labelled
from atv.model.loading import load_model

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


@pytest.fixture(scope="module")
def bundled():
    return load_model(BUNDLED_MODEL)


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
    for row, turns in enumerate((SHORT, LONG)):
        words = tokenizer.convert_ids_to_tokens(batch["input_ids"][row])
        for place, word in enumerate(words):
            if word == "<assistant>":
                for predicts in (place, place + 1):
                    target = batch["input_ids"][row, predicts + 1]
                    terms.append(F.cross_entropy(logits[row, predicts], target))
        assert words.count("<assistant>") == len(turns) // 2
    torch.testing.assert_close(loss, torch.stack(terms).mean())


def test_what_cannot_be_labelled_is_said(bundled, monkeypatch):
    _, processor = bundled
    turn = "<{{ message['role'] }}> {{ message['content'][-1]['text'] }} "
    backwards = "{% for message in messages | reverse %}" + turn + "{% endfor %}"
    monkeypatch.setattr(processor, "chat_template", backwards)
    with pytest.raises(ValueError, match="does not write a conversation turn after turn"):
        labelled(processor, *chats((LONG, 0)))
