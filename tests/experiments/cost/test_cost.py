import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from atv.bundled import BUNDLED_MODEL
from atv.model.lvlm import LVLM
from atv.runtime.timing import Row, compare, interleaved
from experiments.cost import gpu, mask_making, result_page, scaling, whole_models
from experiments.cost.floor import floor
from experiments.cost.semi_structured import NO_GPU, bench, measure, supported, target_shapes
from experiments.cost.workload import Shape, random_batches, random_llava

TINY = Shape(hidden=64, ffn=96, blocks=2, samples=3, visual=16, text=8)


def test_samples_have_the_visual_tokens_that_the_shape_names():
    shape = replace(TINY, pictures=2)
    lvlm = LVLM.of(random_llava(shape))
    for batch in random_batches(shape):
        assert lvlm.visual(batch).sum() == 32
        assert 7 <= (~lvlm.visual(batch)).sum() <= 9
        lvlm.model(**batch)


def test_pictures_are_square():
    with pytest.raises(ValueError, match="square number of patches, got 15"):
        random_batches(replace(TINY, visual=15))


def test_the_floor_runs_every_block_twice_and_leaves_the_model_as_it_was():
    model, batches = random_llava(TINY), random_batches(TINY)
    before = [model(**batch).logits for batch in batches]
    calls = {"attention": 0, "tower": 0}

    def count(what):
        return lambda *_: calls.update({what: calls[what] + 1})

    for block in model.get_decoder().layers:
        block.self_attn.register_forward_hook(count("attention"))
    model.model.vision_tower.register_forward_hook(count("tower"))
    floor(model, batches)
    assert calls == {"attention": 2 * 2 * 3, "tower": 3}
    assert all(torch.equal(model(**batch).logits, logits) for batch, logits in zip(batches, before, strict=True))


def test_turns_are_interleaved_and_ratios_are_taken_within_a_turn():
    order = []

    def run(name, seconds):
        return lambda: order.append(name) or next(seconds)

    seconds = interleaved({"a": run("a", iter([1.0, 3.0])), "b": run("b", iter([2.0, 1.0]))}, repeats=2)
    assert order == ["a", "b", "b", "a"]
    row = compare(seconds, "a", "b", limit=1.0)
    assert row.ratios == [0.5, 3.0] and row.seconds == [1.0, 3.0] and row.met is False


def test_masks_are_compared_entry_by_entry():
    ours = {"x": torch.tensor([[True, False, True, True]])}
    assert whole_models.share_differing(ours, {"x": torch.tensor([[True, True, True, True]])}) == 0.25
    # A difference in block 0 moves what block 1 reads.
    named = {f"model.layers.{block}.mlp.up_proj": ours["x"] for block in (0, 1, 10)}
    assert list(whole_models.first_block(named)) == ["model.layers.0.mlp.up_proj"]
    with pytest.raises(ValueError, match=r"different Linears: \['x', 'y'\]"):
        whole_models.share_differing(ours, {"y": ours["x"]})


def test_a_sort_in_full_gives_the_masks_that_it_is_compared_with():
    score = torch.rand(5, 32).mul(8).round()
    for name in ("unstructured", "2:4"):
        assert torch.equal(mask_making._sorted(name)(score), mask_making._masks(mask_making.parse_pattern(name))(score))


def test_a_line_explains_what_grows_linearly():
    growth = scaling.Growth("samples", [1, 2, 3], {"ATV": [1.5, 2.5, 3.5], "floor": [1.0, 4.0, 9.0]})
    assert growth.line("ATV") == pytest.approx((1.0, 0.5))
    assert growth.r_squared("ATV") == pytest.approx(1.0) and 0.9 < growth.r_squared("floor") < 0.99


def test_the_table_says_what_was_asked_and_met():
    met = Row("Wanda", "floor", [1.0, 1.1, 1.02], [2.0, 2.2, 2.04], limit=1.05)
    assert result_page.cells(met) == ["Wanda", "2.04 [2, 2.2]", "floor", "1.02 [1, 1.1]", "≤ 1.05", "yes"]
    assert result_page.cells(replace(met, limit=1.01))[-2:] == ["≤ 1.01", "no"]
    assert result_page.cells(Row("a", "b", [0.5])) == ["a", "", "b", "0.5", "", ""]


@pytest.mark.slow
def test_the_whole_benchmark_on_a_tiny_model(tmp_path, capsys):
    from experiments.cost.__main__ import bench

    threads = torch.get_num_threads()
    bench(tmp_path, repeats=1, threads=threads, peer=tmp_path / "absent", shape=TINY, growth=TINY)
    page = next(tmp_path.glob("*.md"))
    assert page.read_text() in capsys.readouterr().out
    assert "llm-compressor's Wanda: skipped, there is no" in page.read_text()
    results = json.loads(page.with_suffix(".json").read_text())
    assert {row["name"] for row in results["rows"]} >= {"Wanda", "ATV", "2:4 masks of a block"}
    assert all(value > 0 for row in results["rows"] for value in row["ratios"])
    assert next(growth["axis"] for growth in results["growths"]) == "samples"
    assert page.with_suffix(".png").stat().st_size > 1000


def test_the_gpu_row_runs_on_any_device():
    config = gpu.llava_next_8b()
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = type(config.vision_config)(**small, image_size=8, patch_size=4)
    text = type(config.text_config)(**small, vocab_size=1100, num_key_value_heads=1)
    tiny = type(config)(vision_config=vision, text_config=text, image_token_index=1050, image_grid_pinpoints=[[16, 16]])
    measured = gpu.measure(tiny, samples=2, text=8, device=torch.device("cpu"), dtype=torch.bfloat16)
    assert measured.pruning > 0 and measured.peak == 0
    assert measured.row().ratios[0] == pytest.approx(2 * measured.pruning / sum(measured.floors))
    assert torch.get_default_dtype() == torch.float32


def test_the_shape_on_the_gpu_has_8_billion_parameters_and_2900_tokens():
    from transformers import LlavaNextForConditionalGeneration

    config = gpu.llava_next_8b()
    with torch.device("meta"):
        model = LlavaNextForConditionalGeneration(config)
    assert 8.2e9 < sum(parameter.numel() for parameter in model.parameters()) < 8.5e9
    (batch,) = gpu.next_batches(config, samples=1, text=40)
    assert 2900 < batch["input_ids"].shape[1] < 3000


PEER = Path(__file__).parents[3] / ".venv-peers" / "bin" / "python"


@pytest.mark.slow
@pytest.mark.skipif(not PEER.is_file(), reason="make bench-setup was not run")
def test_llm_compressor_makes_the_same_masks():
    rows, remarks = whole_models.rows(TINY, repeats=1, threads=1, peer=PEER)
    differing = next(row for row in rows if row.name == "mask entries of block 0 that differ")
    assert differing.met and remarks[1].startswith("llm-compressor's Wanda: llmcompressor 0.14")


def test_the_shapes_are_those_of_the_targets():
    assert target_shapes(BUNDLED_MODEL) == [(192, 192), (192, 512), (512, 192)]


def test_rows_compare_compressed_with_dense_products():
    compressed = []

    def compress(weight):
        compressed.append(weight)
        return weight.clone()

    rows = measure([(32, 64)], [4, 8], 3, torch.device("cpu"), torch.float32, compress)
    assert [row.name for row in rows] == ["32 x 64, 4 tokens", "32 x 64, 8 tokens"]
    assert all(len(row.ratios) == len(row.seconds) == 3 and min(row.seconds) > 0 for row in rows)
    assert all((weight.unflatten(1, (-1, 4)) != 0).sum(-1).eq(2).all() for weight in compressed)


@pytest.mark.skipif(supported(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys):
    bench("bundled")
    assert capsys.readouterr().out.strip() == NO_GPU


@pytest.mark.skipif(not supported(), reason=NO_GPU)
def test_a_compressed_weight_gives_the_dense_product():
    from torch.sparse import to_sparse_semi_structured

    dense = torch.tensor([0.0, 1, 2, 0]).repeat(128, 32).to("cuda", torch.bfloat16)
    x = torch.randn(16, 128, device="cuda", dtype=torch.bfloat16)
    product = torch.nn.functional.linear(x, to_sparse_semi_structured(dense))
    torch.testing.assert_close(product, x @ dense.T, rtol=1e-2, atol=1e-1)
