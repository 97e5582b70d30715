"""ScienceQA-IMG: school questions about a picture, with choices."""

from atv.data.pictures import undecoded
from atv.evaluation.benchmarks.base import BY_LETTER, Benchmark, Question, Row
from atv.evaluation.benchmarks.values import one_of, text, texts, whole_number
from atv.evaluation.metrics.multiple_choice import LETTERS


class ScienceQA(Benchmark):
    """Multiple choice; correct letters (2,017 rows). Rows without a picture are left out.

    Rows have no id: their content tells them apart.
    """

    hub, former_hub = "lmms-lab-encoder/ScienceQA", "lmms-lab/ScienceQA"
    config, split = "ScienceQA-IMG", "test"
    columns = ("image", "question", "choices", "answer", "hint", "subject", "topic")
    identity = ("question", "choices", "hint", "image")
    metric, max_new_tokens = "LetterChoice", 16
    lmms_eval = "scienceqa_img"

    def keep(self, row: Row) -> bool:
        return bool(undecoded(row["image"]))

    def ask(self, row: Row) -> Question:
        hint, choices, answer_index = text(row, "hint", ""), texts(row, "choices"), whole_number(row, "answer")
        context = f"Context: {hint}\n" if hint else ""
        choice_lines = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))
        prompt = f"{context}{text(row, 'question')}\n{choice_lines}\n{BY_LETTER}"
        one_of(str(answer_index), [str(choice_index) for choice_index in range(len(choices))], "answer")
        return Question(prompt, LETTERS[answer_index], category=text(row, "subject", ""), options=choices)
