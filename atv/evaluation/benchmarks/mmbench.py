"""MMBench: multiple choice in all rotations of the options."""

from atv.evaluation.benchmarks.base import BY_LETTER, Benchmark, Question, Row
from atv.evaluation.benchmarks.values import one_of, text, whole_number

# Rotations of question i have the index i + k * ROTATION.
ROTATION = 1_000_000
# Values that stand for a missing option or hint, besides null.
ABSENT = ("", "nan")


class MMBench(Benchmark):
    """English dev split; a question counts only if all its rotations are correct (4,329 rows, 1,164 questions)."""

    hub, former_hub = "lmms-lab-encoder/MMBench", "lmms-lab/MMBench"
    config, split = "en", "dev"
    columns = ("index", "question", "hint", "answer", "A", "B", "C", "D", "category", "image", "L2-category")
    identity = ("index",)
    metric, max_new_tokens = "CircularChoice", 1024
    lmms_eval = "mmbench_en_dev"

    def ask(self, row: Row) -> Question:
        option_texts = {letter: text(row, letter, "") for letter in "ABCD"}
        options = {letter: option for letter, option in option_texts.items() if option not in ABSENT}
        option_lines = "\n".join(f"{letter}. {option}" for letter, option in options.items())
        hint = text(row, "hint", "")
        return Question(
            f"{'' if hint in ABSENT else f'{hint} '}{text(row, 'question')} There are several options:\n"
            f"{option_lines}\n\n{BY_LETTER}",
            one_of(text(row, "answer"), tuple(options), "answer"),
            group=str(whole_number(row, "index") % ROTATION),
            category=text(row, "L2-category", ""),
            # Options keep their letters; letters after the last option are dropped.
            options=tuple(options.get(letter, "") for letter in option_texts if letter <= max(options)),
        )
