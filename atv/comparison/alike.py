"""Checks that two models were asked the same questions in the same way; only then are their answers compared."""

from collections.abc import Iterator
from typing import Any

from atv.comparison.answers import KEY, Answers, as_lists
from atv.data.wording import short
from atv.records.run_folder import differences

# Columns that show that questions with the same id differ, if both recorded them, and their names in messages.
_TOLD = {
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
        raise _differing(first, other, [f"{tasks}; use --benchmark to name benchmarks that both have"])
    _check_ids(first, other)
    # The digests of cells show that both were asked alike, even if the cells recorded nothing else.
    if first.inputs and first.inputs == other.inputs:
        return
    if found := list(_questions(first, other)) or list(_settings(first, other)):
        raise _differing(first, other, found)


def _differing(first: Answers, other: Answers, found: list[str]) -> ValueError:
    more = f" (and {len(found) - SHOWN} more)" if len(found) > SHOWN else ""
    return ValueError(f"{other.name!r} cannot be compared with {first.name!r}: {'; '.join(found[:SHOWN])}{more}")


def _check_ids(first: Answers, other: Answers) -> None:
    there = set(first.rows[KEY].itertuples(index=False, name=None))
    for rows in (*first.by_seed[1:], *other.by_seed):
        here = set(rows[KEY].itertuples(index=False, name=None))
        if here != there:
            only = [f"{len(there - here):,} questions are only there"] if there - here else []
            only += [f"{len(here - there):,} are only here"] if here - there else []
            example = min(here ^ there)
            raise _differing(first, other, [f"{' and '.join(only)}, such as {short(example[1], 80)!r} of {example[0]}"])


def _questions(first: Answers, other: Answers) -> Iterator[str]:
    # Both are sorted, and have the same ids.
    for name, called in _TOLD.items():
        if name not in first.rows or name not in other.rows:
            continue
        there, here = (rows[name].map(_text) for rows in (first.rows, other.rows))
        if (differs := there != here).any():
            place = differs.idxmax()
            which = short(first.rows.loc[place, "question_id"], 80)
            yield (
                f"{differs.sum():,} questions differ in {called}, such as {which!r}: "
                f"{short(there[place], 60)!r} there and {short(here[place], 60)!r} here"
            )


def _text(value: Any) -> str:
    own = as_lists(value)
    return "" if own is None or own != own else str(own)


def _settings(first: Answers, other: Answers) -> Iterator[str]:
    for task in first.tasks:
        there, here = first.asked_with.get(task), other.asked_with.get(task)
        if there is None or here is None:
            silent = [answers for answers in (first, other) if answers.inputs and task not in answers.asked_with]
            if silent:
                yield (
                    f"{silent[0].sources[0]!r} was written by an earlier version of atv, which did not record how the "
                    "questions were asked"
                )
                return
            continue
        if found := [f"{task}: {each}" for each in differences(dict(there), dict(here))]:
            yield from found
            return
