"""A sample's fault is named, counted and replaced, whoever finds it: the source, the template or the processor."""

import base64
import json

import pytest
from datasets import Dataset
from helpers.layouts import ANSWER, QUESTION, Listed, jpg, turns

from atv.bundled.architecture import build_processor
from atv.data import CaptionedImages, Conversation, HFDataset, ShareGPT4V
from atv.data.calibration_batches import calibration_batches
from atv.data.conversations import encode_chats, messages
from atv.data.turns import turns_of


@pytest.fixture(scope="module")
def processor():
    return build_processor()


def among_good(faulty):
    """Thirty samples, of which the second that is drawn is ``faulty``."""
    rows = [Conversation(f"s{number}", turns(), [jpg(number)]) for number in range(30)]
    order = [conversation.id for conversation in Listed(rows).draw(0)]
    rows[int(order[1][1:])] = faulty
    return Listed(rows), order


def said(*texts):
    return [{"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(texts)]


FAULTS = {
    "no turns": (Conversation("x", []), "it has no turns"),
    "turns that are none": (Conversation("x", "what is there ?"), "its turns are 'what is there ?'"),
    "turns of texts": (Conversation("x", ["what is there ?"]), "expected a list of {from, value}"),
    "a speaker that is no text": (Conversation("x", [{"from": ["human"], "value": "hm"}]), "a turn by ['human']"),
    "a null text": (Conversation("x", said(QUESTION, None)), "without value, text or content"),
    "a text that is a truth": (Conversation("x", said(True)), "is True, a bool; expected text"),
    "a text that is a list of numbers": (Conversation("x", said([1, 2])), "a part of kind None (1)"),
    "not a number": (Conversation("x", said(float("nan"))), "is nan; expected text"),
    "half a surrogate pair": (Conversation("x", said("a \ud83d star")), "half a surrogate pair (U+D83D)"),
    "a null part": (Conversation("x", said([{"type": "text", "text": None}])), "the text of a part is None"),
    "a marker in an answer": (Conversation("x", said(QUESTION, "an <image> token"), [jpg(1)]), "spells out '<image>'"),
    "a clip": (Conversation("x", said([{"type": "video", "video": "a.mp4"}])), "a part of kind 'video'"),
    "a URL": (
        Conversation("x", said([{"type": "image_url", "image_url": {"url": "https://a.org/b.jpg"}}])),
        "is a URL, which atv does not fetch",
    ),
    "what the source could not read": (ValueError("no such row"), "no such row"),
    "what the source did not foresee": (KeyError("caption"), "KeyError: 'caption'"),
    "a missing file": (Conversation("x", turns(), ["nowhere.jpg"]), "'nowhere.jpg' cannot be read"),
    "a picture of numbers": (Conversation("x", turns(), [7]), "a value of type int (7) is not a picture"),
    "megabytes": (Conversation("x", turns(), ["é" * 3_000_000]), "cannot be read"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_it_is_named_and_replaced(processor, case, capsys):
    faulty, reason = FAULTS[case]
    data, order = among_good(faulty)
    record = calibration_batches(processor, data, 20, batch_size=7).record
    assert record["ids"] == [order[0], *order[2:21]]
    (broken,) = record["broken"]
    assert reason in broken["reason"] and len(broken["reason"]) <= 300
    assert broken["id"] == ("x" if isinstance(faulty, Conversation) else f"row {order[1][1:]}")
    named = capsys.readouterr().err
    assert repr(broken["id"]) in named and named.count("\n") == 1 and len(named) < 500
    json.dumps(record)


def with_template(template):
    processor = build_processor()
    processor.chat_template = template
    return processor


ALTERNATING = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate [/sic]') }}{% endif %}<{{ m['role'] }}> "
    "{% for p in m['content'] %}{% if p['type'] == 'image' %}<image> {% else %}{{ p['text'] }} {% endif %}{% endfor %}"
    "{% endfor %}"
)


def test_what_the_template_refuses(capsys):
    data, _ = among_good(Conversation("[x]", [{"role": "assistant", "text": ANSWER}, *turns("")]))
    (broken,) = calibration_batches(with_template(ALTERNATING), data, 20).record["broken"]
    assert broken == {"id": "[x]", "reason": "TemplateError: roles must alternate [/sic]"}
    assert "'[x]'" in capsys.readouterr().err


@pytest.mark.parametrize("token", ["<image>", "<image> <image>"])
def test_an_image_token_that_is_spelled_out(processor, token):
    spelled = [*turns(), {"from": "human", "value": f"say {token}"}]
    (broken,) = calibration_batches(processor, among_good(Conversation("x", spelled, [jpg(1)]))[0], 20).record["broken"]
    assert "<image> in the turns for 1 pictures" in broken["reason"]
    chat = [{"role": "user", "content": [{"type": "text", "text": f"say {token}"}]}]
    with pytest.raises(ValueError, match="its text spells out '<image>'"):
        encode_chats(processor, [chat], [[]])


def test_what_the_processor_refuses(processor, monkeypatch):
    picky = build_processor()
    images = picky.image_processor
    kind = type(images)

    class Picky(kind):
        def preprocess(self, images, **options):
            pictures = [one for own in images for one in (own if isinstance(own, list) else [own])]
            if any(picture.width > 100 * picture.height for picture in pictures):
                raise RuntimeError("absolute aspect ratio must be smaller than 100")
            return super().preprocess(images, **options)

    monkeypatch.setattr(images, "__class__", Picky)
    from PIL import Image

    data, _ = among_good(Conversation("wide", turns(), [Image.new("RGB", (300, 1))]))
    (broken,) = calibration_batches(picky, data, 20).record["broken"]
    assert broken["id"] == "wide" and "aspect ratio" in broken["reason"]


def test_turns_in_every_shape():
    plain = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    assert turns_of(json.dumps(plain)) == plain
    assert turns_of({"from": ["human", "gpt"], "value": ["a", "b"]}) == plain
    assert turns_of(tuple(plain)) == plain
    chat = messages(
        [{"role": "user", "content": 7}, {"role": "assistant", "content": {"type": "text", "text": 0.5}}], 0
    )
    assert [message["content"][0]["text"] for message in chat] == ["7", "0.5"]


def test_pictures_that_turns_bring_themselves(processor):
    url = f"data:image/jpeg;base64,{base64.b64encode(jpg(200)).decode()}"
    # As datasets makes them: every part has the keys of all.
    parts = [
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}, "text": None},
        {"type": "text", "image_url": None, "text": QUESTION},
    ]
    rows = [{"id": "x", "messages": [{"role": "user", "content": parts}], "images": None}]
    brought = calibration_batches(processor, Listed([Conversation("x", rows[0]["messages"])]), 1)
    beside = calibration_batches(processor, Listed([Conversation("y", turns(), [jpg(200)])]), 1)
    assert brought[0]["pixel_values"].equal(beside[0]["pixel_values"])


def test_pictures_in_parts_lie_beside_the_data(tmp_path):
    (tmp_path / "a b.jpg").write_bytes(jpg(1))
    said = [{"role": "user", "content": [{"type": "image", "image": "a b.jpg"}, {"type": "text", "text": QUESTION}]}]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"id": 1, "messages": said}))
    (picture,) = ShareGPT4V(tmp_path / "rows.jsonl").read(0).pictures
    assert picture == tmp_path / "a b.jpg"


@pytest.mark.parametrize("ids", [[None, "b"], ["", "b"]])
def test_rows_without_an_id_are_known_by_their_number(tmp_path, ids):
    pictures = [base64.b64encode(jpg(1)).decode()] * 2
    Dataset.from_dict({"id": ids, "image": pictures, "messages": [json.dumps(turns())] * 2}).to_parquet(
        tmp_path / "a.parquet"
    )
    first = HFDataset(tmp_path / "a.parquet").read(0)
    assert first.id == "row 0" and list(first.turns) == turns() and first.pictures == [jpg(1)]


def test_captions_that_look_like_nothing(tmp_path):
    captions = ["", "NA", "null", "nan", "7", "none"]
    for number in range(len(captions)):
        (tmp_path / f"{number}.jpg").write_bytes(jpg(number))
    lines = "".join(f"{number}.jpg,{caption}\n" for number, caption in enumerate(captions))
    (tmp_path / "metadata.csv").write_text("file_name,text\n" + lines)
    data = CaptionedImages(tmp_path)
    assert [data.read(number).turns[1]["text"] for number in range(len(data))] == captions
    (tmp_path / "metadata.csv").unlink()
    cells = [7, 0.5, "NA", None, ["a"], True]
    rows = ({"file_name": f"{number}.jpg", "text": cell} for number, cell in enumerate(cells))
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = CaptionedImages(tmp_path)
    read = [data.read(number) for number in range(len(data))]
    assert [one.turns[1]["text"] for one in read[:3]] == ["7", "0.5", "NA"]
    assert all("its caption is" in one.fault for one in read[3:])


def test_one_caption_in_another_encoding(tmp_path, processor):
    for number in range(25):
        (tmp_path / f"{number:02d}.jpg").write_bytes(jpg(number))
        (tmp_path / f"{number:02d}.txt").write_bytes("a café".encode("latin-1" if number == 3 else "utf-8"))
    (broken,) = calibration_batches(processor, CaptionedImages(tmp_path), 24).record["broken"]
    assert broken["id"] == "03.jpg" and "03.txt' is not UTF-8 (byte 0xe9 in line 1)" in broken["reason"]


def test_a_row_of_the_raw_layout(tmp_path, processor):
    rows = [{"id": f"s{n}", "image": f"{n}.jpg", "conversations": turns()} for n in range(30)]
    rows[0] |= {"image": {"width": 3}, "id": None}
    for number in range(30):
        (tmp_path / f"{number}.jpg").write_bytes(jpg(number))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    record = calibration_batches(processor, ShareGPT4V(tmp_path / "a.json"), 29).record
    (broken,) = record["broken"]
    assert broken == {"id": "row 0", "reason": "a picture without bytes or path; found 'width'"}
