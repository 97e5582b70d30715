"""Checks that two models were asked the same questions in the same way; only then are their answers compared."""

from collections.abc import Iterator
from typing import Any

from atv.comparison.answers import KEY, Answers, as_lists
from atv.data.wording import short
from atv.records.run_folder import differences

# Columns that show that questions with the same id differ, if both recorded them, and their names in messages.
_COLUMN_NAMES = {
    "metric": "metric",
    "group": "group",
    "category": "category",
    "answer": "right answer",
    "answers": "right answers",
    "options": "options",
    "question": "wording",
    "seen": "picture or text (by its digest)",
}
SHOWN = 3


def check_alike(first: Answers, other: Answers) -> None:
    """Checks that two models were asked the same questions in the same way.

    Raises:
        ValueError: naming what differs: tasks, questions, what is right or shown, lengths, template, pictures.
    """
    if first.tasks != other.tasks:
        tasks = f"tasks are {', '.join(first.tasks)} there and {', '.join(other.tasks)} here"
        raise _not_comparable(first, other, [f"{tasks}; use --benchmark to name benchmarks that both have"])
    _check_ids(first, other)
    # The digests of cells show that both were asked alike, even if the cells recorded nothing else.
    if first.inputs and first.inputs == other.inputs:
        return
    if mismatches := list(_question_mismatches(first, other)) or list(_setting_mismatches(first, other)):
        raise _not_comparable(first, other, mismatches)


def _not_comparable(first: Answers, other: Answers, mismatches: list[str]) -> ValueError:
    omitted = f" (and {len(mismatches) - SHOWN} more)" if len(mismatches) > SHOWN else ""
    return ValueError(
        f"{other.name!r} cannot be compared with {first.name!r}: {'; '.join(mismatches[:SHOWN])}{omitted}"
    )


def _check_ids(first: Answers, other: Answers) -> None:
    first_ids = set(first.rows[KEY].itertuples(index=False, name=None))
    for rows in (*first.by_seed[1:], *other.by_seed):
        ids = set(rows[KEY].itertuples(index=False, name=None))
        if ids != first_ids:
            unshared = [f"{len(first_ids - ids):,} questions are only there"] if first_ids - ids else []
            unshared += [f"{len(ids - first_ids):,} are only here"] if ids - first_ids else []
            example = min(ids ^ first_ids)
            raise _not_comparable(
                first, other, [f"{' and '.join(unshared)}, such as {short(example[1], 80)!r} of {example[0]}"]
            )


def _question_mismatches(first: Answers, other: Answers) -> Iterator[str]:
    # Both are sorted, and have the same ids.
    for column, column_name in _COLUMN_NAMES.items():
        if column not in first.rows or column not in other.rows:
            continue
        first_texts, other_texts = (rows[column].map(_text) for rows in (first.rows, other.rows))
        if (differs := first_texts != other_texts).any():
            row = differs.idxmax()
            question_id = short(first.rows.loc[row, "question_id"], 80)
            yield (
                f"{differs.sum():,} questions differ in {column_name}, such as {question_id!r}: "
                f"{short(first_texts[row], 60)!r} there and {short(other_texts[row], 60)!r} here"
            )


def _text(value: Any) -> str:
    listed = as_lists(value)
    return "" if listed is None or listed != listed else str(listed)


def _setting_mismatches(first: Answers, other: Answers) -> Iterator[str]:
    for task in first.tasks:
        first_settings, other_settings = first.asked_with.get(task), other.asked_with.get(task)
        if first_settings is None or other_settings is None:
            unrecorded = [answers for answers in (first, other) if answers.inputs and task not in answers.asked_with]
            if unrecorded:
                yield (
                    f"{unrecorded[0].sources[0]!r} was written by an earlier version of atv, which did not record how "
                    "the questions were asked"
                )
                return
            continue
        if mismatches := [
            f"{task}: {difference}" for difference in differences(dict(first_settings), dict(other_settings))
        ]:
            yield from mismatches
            return
