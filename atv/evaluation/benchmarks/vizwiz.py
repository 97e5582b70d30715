"""VizWiz: pictures and questions by blind people; some questions have no answer."""

from atv.evaluation.benchmarks.base import BRIEFLY, Benchmark, Question, Row
from atv.evaluation.benchmarks.ok_vqa import ANSWERABLE
from atv.evaluation.benchmarks.values import text, texts


class VizWiz(Benchmark):
    """Open questions with answers from ten people; leave-one-out VQA accuracy (4,319 rows)."""

    hub, former_hub = "lmms-lab-encoder/VizWiz-VQA", "lmms-lab/VizWiz-VQA"
    split = "val"
    columns = ("question_id", "image", "question", "answers", "category")
    identity = ("question_id",)
    metric, max_new_tokens = "VQAAccuracy", 128
    lmms_eval = "vizwiz_vqa_val"

    def ask(self, row: Row) -> Question:
        prompt = f"{text(row, 'question').capitalize()}{ANSWERABLE}{BRIEFLY}"
        return Question(prompt, category=text(row, "category", ""), answers=texts(row, "answers"))
