"""Small data sets on disk, in the layouts of the real ones."""

import io
import json

from datasets import Dataset, Features, Image, Value
from datasets import List as ListOf
from PIL import Image as Pictures

from atv.data import IndexedData

QUESTION, ANSWER = "what is there ?", "a red star"


def picture(red):
    return Pictures.new("RGB", (54, 54), (red, 0, 0))


def jpg(red):
    buffer = io.BytesIO()
    picture(red).save(buffer, "JPEG")
    return buffer.getvalue()


def turns(marker="<image>\n"):
    return [{"from": "human", "value": f"{marker}{QUESTION}"}, {"from": "gpt", "value": ANSWER}]


def sharegpt4v(folder, count, tasks=("sharegpt4v",)):
    """Writes LLaVA-NeXT-Data's raw layout: annotations.json, and the pictures in images/coco."""
    (folder / "images" / "coco").mkdir(parents=True)
    rows = []
    for number in range(count):
        name = f"coco/{number:03d}.jpg"
        (folder / "images" / name).write_bytes(jpg(number))
        task = tasks[number % len(tasks)]
        rows.append({"id": f"s{number}", "image": name, "conversations": turns(), "data_source": task})
    (folder / "annotations.json").write_text(json.dumps(rows))
    return folder / "annotations.json", folder / "images"


def llava_next_rows(count, tasks=("sharegpt4v",), broken=()):
    """LLaVA-NeXT-Data as in its parquet files, with pictures as structs of bytes and path."""
    said = ListOf({"from": Value("string"), "value": Value("string")})
    features = {"id": Value("string"), "conversations": said, "data_source": Value("string"), "image": Image()}
    rows = {
        "id": [f"s{number}" for number in range(count)],
        "conversations": [turns() for _ in range(count)],
        "data_source": [tasks[number % len(tasks)] for number in range(count)],
        "image": [
            {"bytes": jpg(number)[: 60 if number in broken else None], "path": f"{number}.jpg"}
            for number in range(count)
        ],
    }
    return Dataset.from_dict(rows, features=Features(features))


class Listed(IndexedData):
    """Conversations from a list; an exception in the list is raised when it is read."""

    def __init__(self, conversations):
        self.conversations = conversations

    def record(self):
        return {"class": "Listed"}

    def __len__(self):
        return len(self.conversations)

    def read(self, index):
        if isinstance(found := self.conversations[index], Exception):
            raise found
        return found
