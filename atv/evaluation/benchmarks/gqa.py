"""GQA: questions about relations and attributes."""

from typing import Any

from datasets import Dataset

from atv.data.conversations import require_columns
from atv.data.hf_dataset import without_decoding
from atv.evaluation.benchmarks.base import BRIEFLY, Benchmark, Question, Row
from atv.evaluation.benchmarks.row_pictures import PICTURE_DIGEST, faulty_pictures, picture_digest
from atv.evaluation.benchmarks.source import Source
from atv.evaluation.benchmarks.values import text

PICTURES = "testdev_balanced_images"


class GQA(Benchmark):
    """Open questions; exact match (12,578 rows). Pictures are a separate data set, in which imageId is the id."""

    hub, former_hub = "lmms-lab-encoder/GQA", "lmms-lab/GQA"
    config, split = "testdev_balanced_instructions", "testdev"
    columns = ("id", "imageId", "question", "answer")
    identity = ("id",)
    metric, max_new_tokens = "ExactMatch", 16
    lmms_eval = "gqa"

    def load(self, source: Source) -> Dataset:
        """Loads the questions; each looks up its picture when it is read.

        Raises:
            ValueError: also if the picture of a question is missing.
        """
        questions, pictures = super().load(source), source.read(PICTURES, self.split)
        require_columns(pictures, ("id", "image"), f"{self.name} ({PICTURES})")
        index_by_id = {picture_id: index for index, picture_id in enumerate(pictures["id"])}
        used_indices = dict.fromkeys(
            index_by_id[picture_id] for picture_id in questions["imageId"] if picture_id in index_by_id
        )
        if broken := next(faulty_pictures(pictures, self.picture_columns, used_indices, source.root), None):
            raise ValueError(f"GQA: picture {pictures['id'][broken[0]]!r} of {PICTURES} is broken: {broken[1]}")
        if missing_ids := sorted(set(questions["imageId"]) - index_by_id.keys()):
            raise ValueError(
                f"GQA: {PICTURES} lacks {len(missing_ids)} pictures of questions; the first is {missing_ids[0]!r}"
            )

        undecoded = without_decoding(pictures.with_format(None), "image")
        digests = {
            picture_id: picture_digest(undecoded[index_by_id[picture_id]]["image"], source.root).hex()
            for picture_id in set(questions["imageId"])
        }
        questions = questions.add_column(PICTURE_DIGEST, [digests[picture_id] for picture_id in questions["imageId"]])

        def join(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
            return batch | {"image": [pictures[index_by_id[picture_id]]["image"] for picture_id in batch["imageId"]]}

        return questions.with_transform(join)

    def ask(self, row: Row) -> Question:
        return Question(f"{text(row, 'question')}{BRIEFLY}", text(row, "answer"))
