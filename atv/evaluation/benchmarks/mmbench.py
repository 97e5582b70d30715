"""MMBench: multiple choice in all rotations of the options."""

from atv.evaluation.benchmarks.base import BY_LETTER, Benchmark, Question, Row

# Rotations of question i have the index i + k * ROTATION.
ROTATION = 1_000_000


class MMBench(Benchmark):
    """English dev; a question counts only if all its rotations are right (4,329 rows, 1,164 questions)."""

    hub, config, split = "lmms-lab/MMBench", "en", "dev"
    columns = ("index", "question", "hint", "answer", "A", "B", "C", "D", "category", "image", "L2-category")
    identity = ("index",)
    metric, max_new_tokens = "CircularChoice", 1024
    lmms_eval = "mmbench_en_dev"

    def ask(self, row: Row) -> Question:
        options = {letter: row[letter] for letter in "ABCD" if _present(row[letter])}
        listed = "\n".join(f"{letter}. {text}" for letter, text in options.items())
        hint = f"{row['hint']} " if _present(row["hint"]) else ""
        return Question(
            f"{hint}{row['question']} There are several options:\n{listed}\n\n{BY_LETTER}",
            row["answer"],
            group=str(row["index"] % ROTATION),
            category=row["L2-category"],
            options=tuple(options.values()),
        )


def _present(text: str | None) -> bool:
    """Absent options and hints are None, empty or the text "nan"."""
    return text not in (None, "", "nan")
