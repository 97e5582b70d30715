"""MME: a pair of yes/no questions per picture, in fourteen categories."""

from atv.evaluation.benchmarks.base import BRIEFLY, Benchmark, Question, Row
from atv.evaluation.benchmarks.values import one_of, text

POINTS = 2800
_ORIGINAL_PROMPT = " Please answer yes or no."


class MME(Benchmark):
    """Perception and cognition; acc% + acc+% by category, 2,800 points in total (2,374 rows, 1,187 pictures)."""

    hub, former_hub = "lmms-lab-encoder/MME", "lmms-lab/MME"
    split = "test"
    columns = ("question_id", "image", "question", "answer", "category")
    # Both questions about a picture have the same id.
    identity = ("category", "question_id", "question")
    metric, max_new_tokens = "MMEPoints", 16
    lmms_eval = "mme"

    def ask(self, row: Row) -> Question:
        prompt = text(row, "question").strip().replace(_ORIGINAL_PROMPT, "") + BRIEFLY
        answer = one_of(text(row, "answer").lower().strip().replace(".", ""), ("yes", "no"), "answer")
        category = text(row, "category")
        return Question(prompt, answer, group=f"{category}/{row['question_id']}", category=category)

    def total(self, score: float) -> tuple[float, float]:
        return POINTS * score, POINTS
