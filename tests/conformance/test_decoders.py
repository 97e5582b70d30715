"""Decoders with several residual streams, with indexers, with shared keys and values: as LLaVA's language model."""

import copy

import pytest
import torch
from conformance.checks import CHECKS, decoupled, generation, logits, pathways, pruning
from conformance.families.tiles import GEMMA4
from conformance.sizes import MLA
from conformance.table import AROUND, TYPES, Samples, around, build, usual_samples
from torch import nn

import atv
from atv.model.lvlm import LVLM
from atv.pathways import DecoupledLinear
from atv.runtime.trainer import quiet_trainer

INDEXED = dict(index_topk=4, index_head_dim=8, index_n_heads=2, first_k_dense_replace=2, num_key_value_heads=4)
DECODERS = {
    # Streams before the batch.
    "gemma3n_text": dict(
        altup_num_inputs=3,
        laurel_rank=8,
        num_kv_shared_layers=0,
        vocab_size_per_layer_input=64,
        hidden_size_per_layer_input=8,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"],
        activation_sparsity_pattern=[0.0, 0.0],
    ),
    # Streams before the width, and indexers.
    "hy_v4": dict(hc_mult=3, mlp_layer_types=["dense", "dense"], moe_intermediate_size=16, **MLA, **INDEXED),
    "deepseek_v32": dict(mlp_layer_types=["dense", "dense"], moe_intermediate_size=16, **MLA, **INDEXED),
}


@pytest.fixture(scope="module")
def made():
    """A type's model, or a LLaVA around a decoder, built once."""
    models = {}

    def of(kind):
        if kind not in models:
            models[kind] = around(kind, **DECODERS[kind]) if kind in DECODERS else build(kind)
        return models[kind]

    return of


@pytest.mark.parametrize("check", [logits, pruning, pathways], ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", DECODERS)
def test_a_decoder_of_another_build_passes(kind, check, made):
    check(made(kind), AROUND)


@pytest.mark.parametrize("kind", ["gemma3n_text", "hy_v4"])
def test_drift_of_several_streams_is_a_cosine(kind, made):
    model = copy.deepcopy(made(kind))
    report = atv.prune(model, AROUND.batches(), trainer=quiet_trainer(enable_progress_bar=False))
    assert all(0 < block.mean_drift <= 2 for block in report.blocks)
    visual = sum(int(LVLM.of(model).visual(batch).sum()) for batch in AROUND.batches())
    assert all(block.tokens["visual"] == visual for block in report.blocks)


@pytest.mark.parametrize("kind", ["gemma3n_text", "hy_v4"])
def test_the_block_that_moves_several_streams_least_goes(kind, made):
    rules = {"allocation": atv.BlockInfluence("visual"), "propagate": False}
    trainer = quiet_trainer(enable_progress_bar=False)
    report = atv.prune(copy.deepcopy(made(kind)), AROUND.batches(), trainer=trainer, **rules)
    least = min(report.blocks, key=lambda block: block.mean_drift).block
    assert {name for name, mask in report.masks.items() if not mask.any()} == {
        name for name in report.masks if f".layers.{least}." in name
    }


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("hy_v4", "indexer"),
        ("deepseek_v32", "indexer"),
        ("gemma3n_text", "altup"),
        ("qwen4_exp", "indexer"),
        ("qwen4_exp", "attn_hyper_connection"),
    ],
)
def test_what_steers_tokens_stays_dense_and_is_named(kind, name, made):
    lvlm = LVLM.of(made(kind))
    dense = [one for one in lvlm.left_dense if f".{name}." in one]
    assert dense and not any(f".{name}." in one for one in lvlm.prunable)
    with pytest.raises(ValueError, match=rf"{name}.* steers tokens and stays dense"):
        lvlm.targets([f"*.{name}.*"])


@pytest.mark.parametrize("row", [[3, "image", 4], [5]])
def test_latents_in_a_cache_have_lost_their_modality(row, made):
    full = decoupled(made("deepseek_v32"))
    for module in full.modules():
        if isinstance(module, DecoupledLinear):
            module.visual = nn.Parameter(2 * module.text)
    (batch,) = Samples(TYPES["llava"].layout, [[row]]).batches()
    options = {"max_new_tokens": 2, "min_new_tokens": 2, "do_sample": False}
    with pytest.raises(ValueError, match="use_cache=False"):
        full.generate(**batch, **options)
    full.generate(**batch, **options, use_cache=False)


def shared(layers):
    """Gemma 4 whose last blocks share keys and values."""
    kinds = ["sliding_attention", "full_attention"] * 2
    own = dict(num_hidden_layers=4, layer_types=kinds, num_kv_shared_layers=layers)
    return build("gemma4", text_config=GEMMA4 | own)


@pytest.mark.parametrize("layers", [1, 2])
def test_blocks_that_share_keys_and_values_pass_every_check(layers):
    model = shared(layers)
    for check in CHECKS:
        check(model, usual_samples("gemma4"))


def test_answers_are_the_same_whether_or_not_every_position_reaches_the_last_blocks():
    model = shared(2)
    full = decoupled(model)
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    for batch in Samples(TYPES["gemma4"].layout, [[[5, "image", 9]], [[2, "image", 3], [8, "image", 1]]]).batches():
        assert torch.equal(full.generate(**batch, **options), model.generate(**batch, **options))
    generation(model, usual_samples("gemma4"))


@pytest.mark.parametrize("kind", ["blip-2", "instructblip"])
def test_a_decoder_that_takes_ids_of_its_own_is_not_taken_for_half_of_an_encoder_decoder(kind):
    assert LVLM.of(build(kind)).blocks
