from datasets import Dataset

from atv.evaluation.question_sets import Suite


def suite(groups=None):
    """Tasks of five and of four groups, each of two questions."""
    rows = [
        (task, f"{task}{group}") for task, count in (("a", 5), ("b", 4)) for group in range(count) for _ in range(2)
    ]
    return Suite(
        Dataset.from_dict({"task": [row[0] for row in rows], "group": [row[1] for row in rows]}), "x", "test", groups
    )


def test_parts_are_all_questions_once_in_whole_groups():
    parts = [suite().part(start, end) for start, end in ((0, 1), (1, 3), (3, 5))]
    asked = [list(dict.fromkeys(part.rows["group"])) for part in parts]
    assert asked == [["a0", "b0"], ["a1", "a2", "b1", "b2"], ["a3", "a4", "b3"]]
    assert sum(len(part.rows) for part in parts) == 18 and all(part.groups is None for part in parts)


def test_size_is_that_of_the_smallest_task_and_of_what_was_asked_for():
    assert (suite().size, suite(3).size, suite(9).size) == (4, 3, 4)
