"""Small data sets in the real layouts of the nine benchmarks: parquet files as on the hub, with the same types."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TEXTS = pa.list_(pa.string())
COLORS = ("red", "green", "blue", "yellow", "white", "black")


def picture(color):
    stream = io.BytesIO()
    Image.new("RGB", (54, 54), color).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": f"{color}.png"}


def table(rows, **types):
    """A table with columns in the order of ``types``; the type None means strings."""
    fields = [(name.replace("L2_", "L2-"), kind or pa.string()) for name, kind in types.items()]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def ok_vqa():
    rows = [
        {"question_id": str(i), "image": picture(color), "question": "What color?", "answers": [color] * 6 + ["no"] * 4}
        | {"question_type": "five", "answer_type": "other"}
        for i, color in enumerate(COLORS)
    ]
    return table(
        rows, question_id=None, image=PICTURE, question=None, answers=TEXTS, question_type=None, answer_type=None
    )


def vizwiz():
    rows = [
        {"question_id": f"VizWiz_val_{i}.jpg", "image": picture(color), "question": "what IS this?"}
        | {"answers": ["unanswerable"] * 3 + [color] * 7, "category": "other"}
        for i, color in enumerate(COLORS)
    ]
    return table(rows, question_id=None, image=PICTURE, question=None, answers=TEXTS, category=None)


def textvqa():
    rows = [
        {"image_id": f"x{i}", "question_id": 34602 + i, "question": "what is WRITTEN?", "question_tokens": ["what"]}
        | {"image": picture(color), "image_width": 54, "image_height": 54, "flickr_original_url": "u"}
        | {"flickr_300k_url": "u", "answers": [color] * 10, "image_classes": ["Sign"], "set_name": "val"}
        | {"ocr_tokens": ["stop"]}
        for i, color in enumerate(COLORS)
    ]
    types = {"image_id": None, "question_id": pa.int32(), "question": None, "question_tokens": TEXTS, "image": PICTURE}
    types |= {"image_width": pa.int32(), "image_height": pa.int32(), "flickr_original_url": None}
    types |= {"flickr_300k_url": None, "answers": TEXTS, "image_classes": TEXTS, "set_name": None, "ocr_tokens": TEXTS}
    return table(rows, **types)


def gqa():
    return table(
        [{"id": f"20{i}", "imageId": f"n{i % 3}", "question": "What is it?", "answer": "ring"} for i in range(6)],
        id=None,
        imageId=None,
        question=None,
        answer=None,
    )


def gqa_pictures():
    return table([{"id": f"n{i}", "image": picture(COLORS[i])} for i in range(3)], id=None, image=PICTURE)


def pope():
    rows = [
        {
            "id": str(i),
            "question_id": str(i % 3 + 1),
            "question": "Is there a ring in the image? ",
            "image": picture(color),
        }
        | {"answer": ("yes", "no")[i % 2], "image_source": f"COCO_{i}", "category": ("random", "popular")[i // 3]}
        for i, color in enumerate(COLORS)
    ]
    return table(
        rows, id=None, question_id=None, question=None, answer=None, image_source=None, image=PICTURE, category=None
    )


def scienceqa():
    rows = [
        {"image": None if i == 2 else picture(color), "question": "Which?", "choices": ["star", "ring", "line"]}
        | {"answer": i % 3, "hint": "Look." if i % 2 else "", "subject": "natural science", "topic": "physics"}
        | dict.fromkeys(("task", "grade", "category", "skill", "lecture", "solution"), "text")
        for i, color in enumerate(COLORS)
    ]
    rest = dict.fromkeys(("hint", "task", "grade", "subject", "topic", "category", "skill", "lecture", "solution"))
    return table(rows, image=PICTURE, question=None, choices=TEXTS, answer=pa.int8(), **rest)


def mmbench():
    rows = []
    for i, color in enumerate(COLORS[:3]):
        options = [color, "nothing", "gold"]
        for turn in range(3):
            turned = options[-turn:] + options[:-turn] if turn else options
            row = {"index": i + 1_000_000 * turn, "question": "What color?", "hint": "Look up." if i else "nan"}
            row |= dict(zip("ABCD", [*turned, "nan"], strict=True)) | {"answer": "ABC"[turn], "image": picture(color)}
            row |= {"category": "color", "source": "s", "L2-category": ("coarse", "fine")[i % 2], "comment": "nan"}
            rows.append(row | {"split": "dev"})
    types = {"index": pa.int64(), "question": None, "hint": None, "answer": None, **dict.fromkeys("ABCD")}
    types |= {"category": None, "image": PICTURE, "source": None, "L2_category": None, "comment": None, "split": None}
    return table(rows, **types)


def mme():
    rows = [
        {"question_id": f"{category}/{color}.png", "image": picture(color), "answer": answer, "category": category}
        | {"question": f"Is it {named}? Please answer yes or no."}
        for color, category in (("red", "color"), ("blue", "color"), ("white", "code_reasoning"))
        for answer, named in (("Yes", color), ("No", "pink"))
    ]
    return table(rows, question_id=None, image=PICTURE, question=None, answer=None, category=None)


def mmmu():
    none = {f"image_{i}": None for i in range(1, 8)}
    rest = {"explanation": "", "img_type": "['Diagrams']", "topic_difficulty": "Easy", "subfield": "x"}
    choice = {"question": "See <image 1> here.", "options": "['star', '<image 2>']", "answer": "B"}
    both = {"image_1": picture("red"), "image_2": picture("blue"), "question_type": "multiple-choice"}
    open_ended = {"question": "How many in <image 1>?", "options": "[]", "answer": "3", "image_1": picture("green")}
    rows = [
        {"id": "validation_Art_Theory_1"} | none | rest | choice | both,
        {"id": "validation_Math_2"} | none | rest | open_ended | {"question_type": "open"},
    ]
    types = {"id": None, "question": None, "options": None, "explanation": None}
    types |= {f"image_{i}": PICTURE for i in range(1, 8)}
    last = ("img_type", "answer", "topic_difficulty", "question_type", "subfield")
    return table(rows, **types, **dict.fromkeys(last))


LAYOUTS = {
    "OK-VQA/data/val2014-00000-of-00001.parquet": ok_vqa,
    "VizWiz-VQA/data/val-00000-of-00001.parquet": vizwiz,
    "textvqa/data/validation-00000-of-00001.parquet": textvqa,
    "GQA/testdev_balanced_instructions/testdev-00000-of-00001.parquet": gqa,
    "GQA/testdev_balanced_images/testdev-00000-of-00001.parquet": gqa_pictures,
    "POPE/data/test-00000-of-00001.parquet": pope,
    "ScienceQA/ScienceQA-IMG/test-00000-of-00001.parquet": scienceqa,
    "MMBench/en/dev-00000-of-00001.parquet": mmbench,
    "MME/data/test-00000-of-00001.parquet": mme,
    "MMMU/data/validation-00000-of-00001.parquet": mmmu,
}


def write_benchmarks(folder):
    """Writes all nine, as in a copy of the hub."""
    for file, make in LAYOUTS.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(make(), folder / file)
    return folder


def read_lines(file):
    """The objects of a JSONL file."""
    return [json.loads(line) for line in file.read_text().split("\n") if line]
