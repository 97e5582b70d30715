import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from atv.figures import by_block_and_linear, norms_by_channel, overlap_heatmap, token_overlay
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
    assert ("are not known" in figure.get_suptitle()) == (grid is None)


def test_drift_of_nothing_still_has_a_scale():
    figure = token_overlay(PICTURE, VisualGrid(1, 2), np.ones((1, 2)), np.zeros((1, 2)), [0.5], [4], "a$^$.png")
    figure.draw_without_rendering()
    assert "block 4: K = 2 of 2\nmean drift 0.5" in figure.axes[1].get_title()


def test_data_that_do_not_fit_are_refused():
    selected, drift = example()
    with pytest.raises(ValueError, match=r"expected \(blocks, tokens\) each, got \(2, 8\) and \(2, 7\)"):
        token_overlay(PICTURE, None, selected, drift[:, :7])
    with pytest.raises(ValueError, match="grid: its last token is 9, but there are 8 tokens"):
        token_overlay(PICTURE, VisualGrid(3, 3, first=1), selected, drift)


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


IOU = {
    "model.layers.0.self_attn.q_proj": 0.5,
    "model.layers.0.mlp.up_proj": 0.75,
    "model.layers.1.mlp.up_proj": 1.0,
    "model.layers.10.self_attn.q_proj": 0.25,
}


def test_names_become_blocks_and_kinds():
    table = by_block_and_linear(IOU)
    assert list(table.index) == [0, 1, 10] and list(table.columns) == ["self_attn.q_proj", "mlp.up_proj"]
    assert table.loc[10, "self_attn.q_proj"] == 0.25 and math.isnan(table.loc[1, "self_attn.q_proj"])


def test_experts_of_a_layer_show_their_mean():
    table = by_block_and_linear({f"layers.2.mlp.experts.{e}.down_proj": value for e, value in enumerate([0.2, 0.6])})
    assert table.loc[2, "mlp.experts.*.down_proj"] == pytest.approx(0.4)


def test_names_without_a_block_are_refused():
    with pytest.raises(ValueError, match="'lm_head' has no block number"):
        by_block_and_linear({"lm_head": 1.0})
    with pytest.raises(ValueError, match="values: expected at least one"):
        by_block_and_linear({})


def test_the_heat_map_shows_every_value_and_names_the_baseline():
    figure = overlap_heatmap(IOU, random=1 / 3, note="8 samples")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.50", "0.75", "1.00", "0.25"]
    assert axes.images[0].get_array().compressed().tolist() == [0.5, 0.75, 1.0, 0.25]
    title = axes.get_title(loc="left")
    assert "4 weights, mean IoU 0.625 (two random masks: 0.333)" in title and "8 samples" in title
