import math

import pytest

from atv.figures import by_block_and_linear, overlap_heatmap

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
    with pytest.raises(ValueError, match="there are none"):
        by_block_and_linear({})


def test_the_heat_map_shows_every_value_and_names_the_baseline():
    figure = overlap_heatmap(IOU, random=1 / 3, note="8 samples")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.50", "0.75", "1.00", "0.25"]
    assert axes.images[0].get_array().compressed().tolist() == [0.5, 0.75, 1.0, 0.25]
    title = axes.get_title(loc="left")
    assert "4 weights, mean IoU 0.625 (two random masks: 0.333)" in title and "8 samples" in title
