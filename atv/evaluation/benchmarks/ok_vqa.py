"""OK-VQA: questions that need world knowledge."""

from atv.evaluation.benchmarks.base import BRIEFLY, Benchmark, Question, Row
from atv.evaluation.benchmarks.values import text, texts

ANSWERABLE = "\nWhen the provided information is insufficient, respond with 'Unanswerable'."


class OKVQA(Benchmark):
    """Open questions with answers from ten people; leave-one-out VQA accuracy (5,046 rows)."""

    hub, former_hub = "lmms-lab-encoder/OK-VQA", "lmms-lab/OK-VQA"
    split = "val2014"
    columns = ("question_id", "image", "question", "answers", "question_type", "answer_type")
    identity = ("question_id",)
    metric, max_new_tokens = "VQAAccuracy", 128
    lmms_eval = "ok_vqa_val2014"

    def ask(self, row: Row) -> Question:
        prompt = f"{text(row, 'question')}{ANSWERABLE}{BRIEFLY}"
        return Question(prompt, category=text(row, "answer_type", ""), answers=texts(row, "answers"))
