"""What stands in a chart's title, and what a chart leaves out."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from atv.ablation.charts import counts, panels


@pytest.mark.parametrize(
    ("seeds", "said"), [([1, 3, 3], "3 seeds"), ([1, 1, 3], "1 to 3 seeds"), ([1, 1, 1], "1 seed"), ([1], "1 seed")]
)
def test_counts_are_those_of_the_pruned_models(seeds, said):
    number = len(seeds)
    low = [100.0, 90.0, 91.0][:number]
    rows = pd.DataFrame({"seeds": seeds, "questions": [650] * number, "low": low, "high": [100.0] * number})
    assert counts(rows) == f"650 questions and {said} a point, 95% intervals"


def test_counts_of_questions_are_told_where_they_differ():
    rows = pd.DataFrame({"seeds": [1, 1], "questions": [1040, 299], "low": [90.0, 80.0], "high": [99.0, 99.0]})
    assert counts(rows) == "299 to 1,040 questions and 1 seed a point, 95% intervals"


def test_panels_and_lines_of_cells_that_were_not_run_are_left_out():
    made = [{"setting": setting, "method": method} for setting in ("40%", "50%") for method in ("ATV", "Wanda")]
    rows = pd.DataFrame([row | {"retention": 90.0, "low": 89.0, "high": 91.0} for row in made])
    titles = {name: name for name in ("30%", "40%", "50%")}
    figure, every = panels(rows, "setting", titles, ["Wanda", "RIA", "ATV"], "method", (6, 2), ["red", "green", "blue"])
    assert [axes.get_title() for axes in every] == ["40%", "50%"]
    assert [label.get_text() for label in every[0].get_yticklabels()] == ["ATV", "Wanda"]
    assert [axes.lines[0].get_color() for axes in every] == ["green", "blue"]
    plt.close(figure)
