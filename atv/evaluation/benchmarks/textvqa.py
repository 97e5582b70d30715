"""TextVQA: questions about text in the picture."""

from atv.evaluation.benchmarks.base import BRIEFLY, Benchmark, Question, Row
from atv.evaluation.benchmarks.values import text, texts


class TextVQA(Benchmark):
    """Open questions with answers from ten people; leave-one-out VQA accuracy (5,000 rows), OCR tokens not shown."""

    hub, former_hub = "lmms-lab-encoder/textvqa", "lmms-lab/textvqa"
    split = "validation"
    columns = ("question_id", "image", "question", "answers")
    identity = ("question_id",)
    metric, max_new_tokens = "VQAAccuracy", 128
    lmms_eval = "textvqa_val"

    def ask(self, row: Row) -> Question:
        return Question(f"{text(row, 'question').capitalize()}{BRIEFLY}", answers=texts(row, "answers"))
