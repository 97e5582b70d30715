"""MMMU: college-level questions with up to seven pictures."""

from atv.evaluation.benchmarks.base import BRIEFLY, BY_LETTER, Benchmark, Question, Row
from atv.evaluation.benchmarks.values import one_of, text, texts
from atv.evaluation.metrics.multiple_choice import LETTERS


class MMMU(Benchmark):
    """Validation split; multiple choice and open questions, micro accuracy (900 rows).

    Pictures appear where the question and options name them ("<image 1>").
    """

    hub, former_hub = "lmms-lab-encoder/MMMU", "lmms-lab/MMMU"
    split = "validation"
    picture_columns = tuple(f"image_{i}" for i in range(1, 8))
    columns = ("id", "question", "options", "answer", "question_type", *picture_columns)
    identity = ("id",)
    metric, max_new_tokens = "OpenMatchOrChoice", 128
    lmms_eval = "mmmu_val"

    def ask(self, row: Row) -> Question:
        # "validation_Art_Theory_12"
        subject = text(row, "id").split("_", 1)[-1].rsplit("_", 1)[0]
        if text(row, "question_type") != "multiple-choice":
            return Question(f"{text(row, 'question')}\n{BRIEFLY}", text(row, "answer"), category=subject)
        options = texts(row, "options")
        option_lines = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
        prompt = f"{text(row, 'question')}\n{option_lines}\n\n{BY_LETTER}"
        answer = one_of(text(row, "answer"), tuple(LETTERS[: len(options)]), "answer")
        return Question(prompt, answer, category=subject, options=options)
