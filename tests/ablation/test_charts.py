"""What stands in a chart's title, and what a chart leaves out."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from atv.ablation.charts import panels, reference_line, sample_sizes


@pytest.mark.parametrize(
    ("seeds", "said"), [([1, 3, 3], "3 seeds"), ([1, 1, 3], "1 to 3 seeds"), ([1, 1, 1], "1 seed"), ([1], "1 seed")]
)
def test_counts_are_those_of_the_pruned_models(seeds, said):
    number = len(seeds)
    low = [100.0, 90.0, 91.0][:number]
    rows = pd.DataFrame({"seeds": seeds, "questions": [650] * number, "low": low, "high": [100.0] * number})
    assert sample_sizes(rows) == f"650 questions and {said} per point, 95% intervals"


def test_counts_of_questions_are_told_where_they_differ():
    rows = pd.DataFrame({"seeds": [1, 1], "questions": [1040, 299], "low": [90.0, 80.0], "high": [99.0, 99.0]})
    assert sample_sizes(rows) == "299 to 1,040 questions and 1 seed per point, 95% intervals"


def test_panels_and_lines_of_cells_that_were_not_run_are_left_out():
    made = [{"setting": setting, "method": method} for setting in ("40%", "50%") for method in ("ATV", "Wanda")]
    rows = pd.DataFrame([row | {"retention": 90.0, "low": 89.0, "high": 91.0} for row in made])
    titles, colors, names = ("30%", "40%", "50%"), ["red", "green", "blue"], ["Wanda", "RIA", "ATV"]
    figure, every = panels(rows, by="setting", titles=titles, line="method", names=names, size=(6, 2), colors=colors)
    assert [axes.get_title() for axes in every] == ["40%", "50%"]
    assert [label.get_text() for label in every[0].get_yticklabels()] == ["ATV", "Wanda"]
    assert [axes.lines[0].get_color() for axes in every] == ["green", "blue"]
    titled = {name: f"{name} gone" for name in titles}
    other, again = panels(rows, by="setting", titles=titled, line="method", names=names, size=(6, 2))
    assert [axes.get_title() for axes in again] == ["40% gone", "50% gone"]
    plt.close(figure)
    plt.close(other)


def test_a_reference_line_goes_up_or_along():
    figure, axes = plt.subplots()
    reference_line(axes, x=100)
    reference_line(axes, y=0)
    assert [[list(line.get_xdata()), list(line.get_ydata())] for line in axes.lines] == [
        [[100, 100], [0, 1]],
        [[0, 1], [0, 0]],
    ]
    plt.close(figure)
