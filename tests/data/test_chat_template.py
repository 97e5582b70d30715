"""Templates that want texts get texts; what they write is what is said, never a printed list."""

import pytest
from helpers.layouts import ANSWER, QUESTION, Listed, jpg, turns
from PIL import Image

from atv.bundled.architecture import build_processor
from atv.data import Conversation
from atv.data.calibration_batches import calibration_batches
from atv.data.chat_template import rendered_chat, require_chat_template
from atv.data.conversations import encode_chats, messages
from atv.data.pictures import decode

CHAT = messages(turns("<image>\n"), 1)
PARTS = (
    "{% for m in messages %}<{{ m['role'] }}> {% for p in m['content'] %}"
    "{% if p['type'] == 'image' %}<image> {% else %}{{ p['text'] }} {% endif %}{% endfor %}{% endfor %}"
)
TEXTS = {
    "trimmed": "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] | trim }} {% endfor %}",
    "joined": "{% for m in messages %}{{ '<' + m['role'] + '> ' + m['content'] + ' ' }}{% endfor %}",
    "as JSON": "{% for m in messages %}<{{ m['role'] }}> "
    "{{ m['content'] if m['content'] is string else m['content'] | tojson }} {% endfor %}",
    "checked": "{% for m in messages %}{% if m['content'] is not string %}{{ raise_exception('texts only') }}"
    "{% endif %}<{{ m['role'] }}> {{ m['content'] }} {% endfor %}",
    "answers alone": "{% for m in messages %}<{{ m['role'] }}> {% if m['role'] == 'assistant' %}{{ m['content'] }} "
    "{% else %}{% for p in m['content'] %}{% if p['type'] == 'image' %}<image> {% else %}{{ p['text'] }} {% endif %}"
    "{% endfor %}{% endif %}{% endfor %}",
}


def with_template(template):
    processor = build_processor()
    processor.chat_template = template
    return processor


@pytest.mark.parametrize("case", TEXTS)
def test_a_template_of_texts_writes_what_is_said(case):
    processor, plain = with_template(TEXTS[case]), with_template(PARTS)
    assert rendered_chat(processor, CHAT).split() == rendered_chat(plain, CHAT).split()
    pictures = [decode(jpg(3))]
    ids = [encode_chats(one, [CHAT], [pictures])["input_ids"][0].tolist() for one in (processor, plain)]
    assert ids[0] == ids[1]
    text = messages(turns(""), 0)
    assert rendered_chat(processor, text).split() == ["<user>", *QUESTION.split(), "<assistant>", *ANSWER.split()]


def test_what_people_say_may_look_like_a_printed_list():
    chat = messages([{"role": "user", "content": "print {'type': 'text'}"}, {"role": "assistant", "content": "ok"}], 0)
    for template in (PARTS, TEXTS["trimmed"]):
        assert "print {'type': 'text'} <assistant> ok" in " ".join(rendered_chat(with_template(template), chat).split())


def test_no_pad_token_is_needed_for_one():
    processor = build_processor()
    chats, pictures = [CHAT, CHAT], [[decode(jpg(3))], [Image.new("RGB", (9, 9))]]
    plain = encode_chats(processor, chats[:1], pictures[:1])
    processor.tokenizer.pad_token = None
    assert encode_chats(processor, chats[:1], pictures[:1])["input_ids"].equal(plain["input_ids"])
    with pytest.raises(ValueError, match=r"^model: its tokenizer has no pad token.*pad_token, or use --batch_size 1"):
        encode_chats(processor, chats, pictures)


def test_no_pad_token_is_the_models_fault_and_no_samples():
    processor = build_processor()
    processor.tokenizer.pad_token = None
    data = Listed([Conversation(str(number), turns(), [jpg(number)]) for number in range(4)])
    assert len(calibration_batches(processor, data, 4, batch_size=1)) == 4
    with pytest.raises(ValueError, match=r"^model: its tokenizer has no pad token"):
        list(calibration_batches(processor, data, 4, batch_size=2))


SYSTEM_FIRST = "{% if messages[0]['role'] != 'system' %}{{ raise_exception('no system') }}{% endif %}" + PARTS
QUESTIONS_ALONE = "{% for m in messages if m['role'] == 'user' %}" + PARTS.split("%}", 1)[1]


def test_a_template_may_want_a_system_turn():
    processor = with_template(SYSTEM_FIRST)
    require_chat_template(processor)
    said = [{"role": "system", "content": [{"type": "text", "text": "hm"}]}, *CHAT]
    assert rendered_chat(processor, said).split()[:2] == ["<system>", "hm"]
    # An empty one where there is none, in calibration and in questions.
    plain = with_template(PARTS)
    assert rendered_chat(processor, CHAT).split() == ["<system>", *rendered_chat(plain, CHAT).split()]
    assert rendered_chat(processor, CHAT[:1], prompt=True).split() == [
        "<system>",
        *rendered_chat(plain, CHAT[:1]).split(),
    ]


BESIDE_A_PICTURE = {
    "a question": (
        "{% for m in messages %}<{{ m['role'] }}> {% if m['content'][0]['type'] == 'image' %}<image> "
        "{% else %}{{ m['content'][0]['text'] }} {% endif %}{% endfor %}",
        CHAT,
        "user",
    ),
    "a system turn": (
        PARTS.replace("in messages %}", "in messages if m['role'] != 'system' %}", 1),
        [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}, *CHAT],
        "system",
    ),
}


@pytest.mark.parametrize("case", BESIDE_A_PICTURE)
def test_a_template_that_leaves_out_what_is_said_is_never_used(case):
    template, chat, who = BESIDE_A_PICTURE[case]
    with pytest.raises(ValueError, match=f"the chat template leaves out what the {who} says"):
        rendered_chat(with_template(template), chat)


def test_a_template_of_questions_alone_can_be_asked_but_not_calibrated():
    processor = with_template(QUESTIONS_ALONE)
    require_chat_template(processor)
    assert rendered_chat(processor, CHAT[:1], prompt=True).split() == ["<user>", "<image>", *QUESTION.split()]
    with pytest.raises(ValueError, match="leaves out what the assistant says"):
        rendered_chat(processor, CHAT)
