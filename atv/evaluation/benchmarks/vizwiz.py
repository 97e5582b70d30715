"""VizWiz: pictures and questions of blind people, some without an answer."""

from atv.evaluation.benchmarks.base import BRIEFLY, Benchmark, Question, Row
from atv.evaluation.benchmarks.ok_vqa import ANSWERABLE


class VizWiz(Benchmark):
    """Open questions with ten people's answers; leave-one-out VQA accuracy (4,319 rows)."""

    hub, split = "lmms-lab/VizWiz-VQA", "val"
    columns = ("question_id", "image", "question", "answers", "category")
    identity = ("question_id",)
    metric, max_new_tokens = "VQAAccuracy", 128
    lmms_eval = "vizwiz_vqa_val"

    def ask(self, row: Row) -> Question:
        text = f"{row['question'].capitalize()}{ANSWERABLE}{BRIEFLY}"
        return Question(text, category=row["category"] or "", answers=tuple(row["answers"]))
