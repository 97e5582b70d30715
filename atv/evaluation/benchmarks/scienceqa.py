"""ScienceQA-IMG: school questions about a picture, with choices."""

from atv.evaluation.benchmarks.base import BY_LETTER, Benchmark, Question, Row
from atv.evaluation.metrics.choice import LETTERS


class ScienceQA(Benchmark):
    """Multiple choice; right letters (2,017 rows). Rows without a picture are left out.

    Rows have no id: their content tells them apart.
    """

    hub, config, split = "lmms-lab/ScienceQA", "ScienceQA-IMG", "test"
    columns = ("image", "question", "choices", "answer", "hint", "subject", "topic")
    identity = ("question", "choices", "hint", "image")
    metric, max_new_tokens = "LetterChoice", 16
    lmms_eval = "scienceqa_img"

    def keep(self, row: Row) -> bool:
        return row["image"] is not None

    def ask(self, row: Row) -> Question:
        context = f"Context: {row['hint']}\n" if row["hint"] else ""
        choices = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, row["choices"], strict=False))
        text = f"{context}{row['question']}\n{choices}\n{BY_LETTER}"
        return Question(text, LETTERS[row["answer"]], category=row["subject"] or "", options=tuple(row["choices"]))
