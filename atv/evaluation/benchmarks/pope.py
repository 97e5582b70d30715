"""POPE: is an object in the picture, or made up?"""

from atv.evaluation.benchmarks.base import BRIEFLY, Benchmark, Question, Row
from atv.evaluation.benchmarks.values import one_of, text


class POPE(Benchmark):
    """Yes/no questions, absent objects drawn in three ways; accuracy, precision, recall, F1 (9,000 rows)."""

    hub, former_hub = "lmms-lab-encoder/POPE", "lmms-lab/POPE"
    split = "test"
    columns = ("id", "question_id", "question", "answer", "image_source", "image", "category")
    # Question ids restart in every category.
    identity = ("category", "question_id")
    metric, max_new_tokens = "YesNo", 128
    lmms_eval = "pope"

    def ask(self, row: Row) -> Question:
        answer = one_of(text(row, "answer").lower().strip(), ("yes", "no"), "answer")
        return Question(f"{text(row, 'question').strip()}{BRIEFLY}", answer, category=text(row, "category", ""))
