"""POPE: is an object there, or made up?"""

from atv.evaluation.benchmarks.base import BRIEFLY, Benchmark, Question, Row


class POPE(Benchmark):
    """Yes/no in three ways to draw absent objects; accuracy, precision, recall, F1 (9,000 rows)."""

    hub, split = "lmms-lab/POPE", "test"
    columns = ("id", "question_id", "question", "answer", "image_source", "image", "category")
    # Question ids start anew in every category.
    identity = ("category", "question_id")
    metric, max_new_tokens = "YesNo", 128
    lmms_eval = "pope"

    def ask(self, row: Row) -> Question:
        answer = row["answer"].lower().strip()
        return Question(f"{row['question'].strip()}{BRIEFLY}", answer, category=row["category"])
