"""MMMU: questions of college level, with up to seven pictures."""

import ast

from PIL import Image

from atv.evaluation.benchmarks.base import BRIEFLY, BY_LETTER, Benchmark, Question, Row
from atv.evaluation.metrics.choice import LETTERS


class MMMU(Benchmark):
    """Validation; multiple choice and open questions, micro accuracy (900 rows).

    Pictures stand where question and options name them ("<image 1>").
    """

    hub, split = "lmms-lab/MMMU", "validation"
    columns = ("id", "question", "options", "answer", "question_type", *(f"image_{i}" for i in range(1, 8)))
    identity = ("id",)
    metric, max_new_tokens = "OpenMatchOrChoice", 128
    lmms_eval = "mmmu_val"

    def ask(self, row: Row) -> Question:
        # "validation_Art_Theory_12"
        subject = row["id"].split("_", 1)[-1].rsplit("_", 1)[0]
        if row["question_type"] != "multiple-choice":
            return Question(f"{row['question']}\n{BRIEFLY}", row["answer"], category=subject)
        options = tuple(ast.literal_eval(row["options"]))
        listed = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))
        text = f"{row['question']}\n{listed}\n\n{BY_LETTER}"
        return Question(text, row["answer"], category=subject, options=options)

    def pictures(self, row: Row) -> dict[int, Image.Image]:
        return {number: row[f"image_{number}"] for number in range(1, 8) if row[f"image_{number}"] is not None}
