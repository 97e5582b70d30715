import numpy as np
import pytest
from matplotlib.patches import Rectangle

from atv.figures import token_overlay
from atv.model.visual_grid import VisualGrid

PICTURE = np.zeros((20, 60, 3))
GRID = VisualGrid(2, 3, first=1)


def example(blocks=2, tokens=8):
    rng = np.random.default_rng(0)
    return rng.random((blocks, tokens)) < 0.5, rng.random((blocks, tokens)) / 10


def patches(axes):
    return {int(p.get_gid()): p.get_xy() for p in axes.patches if isinstance(p, Rectangle)}


def test_selected_tokens_are_drawn_where_they_lie():
    selected, drift = example()
    figure = token_overlay(PICTURE, GRID, selected, drift)
    for block, axes in enumerate(figure.axes[1:3]):
        on_grid = [token for token in range(1, 7) if selected[block, token]]
        where = {token: (20.0 * ((token - 1) % 3), 10.0 * ((token - 1) // 3)) for token in on_grid}
        assert patches(axes) == where
        assert f"block {block}: K = {selected[block].sum()} of 8" in axes.get_title()
        assert f"mean drift {drift[block].mean():.3g}" in axes.get_title()
    assert "2 x 3 visual tokens; 2 more" in figure.get_suptitle()


@pytest.mark.parametrize(("grid", "tokens"), [(GRID, [0, 7]), (None, range(8))])
def test_tokens_without_a_place_are_a_strip_below(grid, tokens):
    selected, drift = example()
    figure = token_overlay(PICTURE, grid, selected, drift)
    for block, axes in enumerate(figure.axes[1:3]):
        (strip,) = axes.child_axes
        shown = strip.images[0].get_array().filled(np.nan)[0]
        expected = [drift[block, token] if selected[block, token] else np.nan for token in tokens]
        np.testing.assert_array_equal(shown, expected)
    assert ("is not known" in figure.get_suptitle()) == (grid is None)


def test_drift_of_nothing_still_has_a_scale():
    figure = token_overlay(PICTURE, VisualGrid(1, 2), np.ones((1, 2)), np.zeros((1, 2)), [0.5], [4], "a$^$.png")
    figure.draw_without_rendering()
    assert "block 4: K = 2 of 2\nmean drift 0.5" in figure.axes[1].get_title()


def test_data_that_do_not_fit_are_refused():
    selected, drift = example()
    with pytest.raises(ValueError, match=r"expected \(blocks, tokens\) twice, got \(2, 8\) and \(2, 7\)"):
        token_overlay(PICTURE, None, selected, drift[:, :7])
    with pytest.raises(ValueError, match="grid: its last token is 9, but there are 8 tokens"):
        token_overlay(PICTURE, VisualGrid(3, 3, first=1), selected, drift)
