import numpy as np
import pandas as pd
import pytest

from atv.figures import norms_by_channel


def test_every_channel_is_a_dot_and_the_largest_are_named():
    table = pd.DataFrame({"block": [0] * 5 + [3] * 5, "channel": [*range(5)] * 2})
    table["text"] = [1, 2, 90, 3, 4, 1, 1, 1, 1, 1]
    table["visual"] = [70, 1, 1, 80, 1, 2, 9, 1, 8, 7]
    figure = norms_by_channel(table, "q_proj", "9 tokens")
    for axes, rows, largest in zip(figure.axes[:2], (table[:5], table[5:]), ({0, 2, 3}, {1, 3, 4}), strict=True):
        dots = np.concatenate([dots.get_offsets() for dots in axes.collections])
        expected = rows[["text", "visual"]].to_numpy()
        assert sorted(map(tuple, dots)) == sorted(map(tuple, expected))
        assert {int(text.get_text()) for text in axes.texts} == largest
    assert [axes.get_title() for axes in figure.axes[:2]] == ["block 0", "block 3"]
    assert "q_proj" in figure.get_suptitle() and "9 tokens" in figure.get_suptitle()


def test_nothing_to_draw_is_said():
    table = pd.DataFrame({"block": [0], "channel": [0], "text": [0.0], "visual": [float("nan")]})
    with pytest.raises(ValueError, match="no root mean square is a positive number"):
        norms_by_channel(table)
