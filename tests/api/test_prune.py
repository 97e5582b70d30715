"""The whole method against a slow, independent implementation of the paper's steps."""

import copy

import numpy as np
import pytest
import torch
from helpers.tiny import IMAGE, make_batch, singles
from transformers import BatchEncoding

import atv
from atv.runtime.trainer import quiet_trainer


def reference_masks(model, batches, ratio, alpha=1.0, pool="drift", propagate=True):
    """Prunes ``model`` as the paper says, sample by sample with fresh full forwards, in float64 numpy."""
    masks = {}
    dense = copy.deepcopy(model)
    for block in range(3):
        source = model if propagate else dense
        layer = source.model.language_model.layers[block]
        linears = {n: m for n, m in layer.named_modules() if isinstance(m, torch.nn.Linear)}
        seen = []
        for one in singles(batches):
            caught = {}
            handles = [
                m.register_forward_pre_hook(
                    lambda _, args, n=n, c=caught: c.__setitem__(n, args[0][0].double().numpy())
                )
                for n, m in linears.items()
            ]
            handles.append(
                layer.register_forward_hook(
                    lambda _, args, out, c=caught: c.update(x=args[0][0].double().numpy(), y=out[0].double().numpy())
                )
            )
            with torch.no_grad():
                source(**one, use_cache=False)
            for handle in handles:
                handle.remove()
            visual = (one["input_ids"][0] == IMAGE).numpy()
            x, y = caught["x"], caught["y"]
            drift = 1 - (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
            seen.append((caught, visual, drift))
        mean = np.concatenate([drift[visual] for _, visual, drift in seen]).mean()
        sums = dict.fromkeys(linears, 0)
        for caught, visual, drift in seen:
            n_text = (~visual).sum()
            budget = min(round(min(1, alpha * mean) * n_text), visual.sum())
            ranked = sorted(np.flatnonzero(visual), key=lambda i, d=drift: (-d[i], i))
            chosen = {
                "drift": list(np.flatnonzero(~visual)) + ranked[:budget],
                "text": list(np.flatnonzero(~visual)),
                "visual": list(np.flatnonzero(visual)),
                "all": list(range(len(visual))),
            }[pool]
            for n in linears:
                sums[n] = sums[n] + (caught[n][chosen] ** 2).sum(0)
        for n, m in model.model.language_model.layers[block].named_modules():
            if not isinstance(m, torch.nn.Linear):
                continue
            weight = m.weight.detach().double().numpy()
            score = np.abs(weight) * np.sqrt(sums[n] / len(seen))
            kept = np.ones_like(score, dtype=bool)
            for row in range(len(score)):
                kept[row, np.argsort(score[row], kind="stable")[: int(score.shape[1] * ratio)]] = False
            masks[f"model.language_model.layers.{block}.{n}"] = torch.from_numpy(kept)
            m.weight.data[~masks[f"model.language_model.layers.{block}.{n}"]] = 0
    return masks


@pytest.mark.parametrize(
    ("selection", "pool", "alpha"),
    [
        (atv.DriftTopK(), "drift", 1.0),
        (atv.DriftTopK(alpha=0.4), "drift", 0.4),
        ("TextOnly", "text", 1),
        ("VisualOnly", "visual", 1),
        ("AllTokens", "all", 1),
    ],
)
@pytest.mark.parametrize("propagate", [True, False])
def test_masks_follow_the_paper(llava, batches, selection, pool, alpha, propagate):
    expected = reference_masks(copy.deepcopy(llava), batches, 0.5, alpha, pool, propagate)
    report = atv.prune(llava, batches, selection=selection, propagate=propagate)
    assert report.masks.keys() == expected.keys()
    differing = sum(int((report.masks[n] != expected[n]).sum()) for n in expected)
    assert differing <= 0.001 * sum(mask.numel() for mask in expected.values())


def test_pruning_zeroes_the_targets_and_changes_nothing_else(llava, batches):
    before = copy.deepcopy(llava.state_dict())
    report = atv.prune(llava, batches, sparsity=0.6)
    for name, tensor in llava.state_dict().items():
        linear = name.removesuffix(".weight")
        expected = before[name] * report.masks[linear] if linear in report.masks else before[name]
        assert torch.equal(tensor, expected), name
    assert all((~mask).sum(1).unique().tolist() == [int(mask.shape[1] * 0.6)] for mask in report.masks.values())


def test_whole_model_sparsity_is_named_apart(llava, batches):
    report = atv.prune(llava, batches)
    zeros = sum(int((~mask).sum()) for mask in report.masks.values())
    assert report.sparsity == 0.5
    assert report.whole_model_sparsity == zeros / sum(p.numel() for p in llava.parameters())


def test_what_stays_dense_is_named_also_where_pathways_are_decoupled(llava, batches):
    dense = copy.deepcopy(llava)
    dense.model.language_model.layers[1].mlp.own = torch.nn.Bilinear(2, 2, 2, bias=False)
    alone = {"model.language_model.layers.1.mlp.own.weight": "Bilinear"}
    assert atv.prune(copy.deepcopy(dense), batches).left_dense == alone
    report = atv.decouple(dense, batches, text=atv.Pathway("TextOnly"), visual=atv.Pathway("VisualOnly"))
    assert report.left_dense == alone


def test_padding_and_batching_move_at_most_a_thousandth_of_the_masks(llava, batches):
    alone = atv.prune(copy.deepcopy(llava), singles(batches)).masks
    together = atv.prune(llava, batches).masks
    assert sum(int((alone[n] != together[n]).sum()) for n in alone) <= 0.001 * sum(m.numel() for m in alone.values())


def test_the_same_seed_gives_the_same_masks(llava, batches):
    first = atv.prune(copy.deepcopy(llava), batches, selection="RandomVisual", seed=3)
    again = atv.prune(copy.deepcopy(llava), batches, selection="RandomVisual", seed=3)
    other = atv.prune(llava, batches, selection="RandomVisual", seed=4)
    assert all(torch.equal(first.masks[n], again.masks[n]) for n in first.masks)
    assert any(not torch.equal(first.masks[n], other.masks[n]) for n in first.masks)


def test_blocks_report_drift_counts_and_norms(llava, batches):
    block = atv.prune(llava, batches).blocks[1]
    assert block.block == 1 and 0 < block.mean_drift < 2 and block.seconds > 0
    assert block.tokens == {"text": 35, "visual": 45}
    assert block.selected["both"]["text"] == 35 and 0 < block.selected["both"]["visual"] < 45
    sites = {site.rsplit(".", 1)[-1] for site in block.norms["text"]}
    assert (
        sites == {"q_proj", "o_proj", "gate_proj", "down_proj"} == {s.rsplit(".", 1)[-1] for s in block.norms["visual"]}
    )


@pytest.mark.parametrize("targets", [["q_proj", "*.mlp.*"], "q_proj,*.mlp.*"])
def test_targets_choose_linears(llava, batches, targets):
    report = atv.prune(llava, batches, targets=targets)
    assert {name.rsplit(".", 1)[-1] for name in report.masks} == {"q_proj", "gate_proj", "up_proj", "down_proj"}


def test_text_only_batches_are_allowed(llava):
    report = atv.prune(llava, [make_batch([5, 7], 1, images=False)])
    assert report.blocks[0].tokens == {"text": 12, "visual": 0} and report.blocks[0].mean_drift == 0


def test_batches_are_read_once(llava, batches):
    assert atv.prune(llava, iter(batches)).sparsity == 0.5


def test_run_dir_holds_masks_and_report(llava, batches, tmp_path):
    report = atv.prune(llava, batches, run_dir=tmp_path / "run")
    saved = atv.load_masks(tmp_path / "run" / "masks.safetensors")
    assert all(torch.equal(saved[n], report.masks[n]) for n in report.masks)
    assert '"schema": 1' in (tmp_path / "run" / "report.json").read_text()


class OddPositions(atv.TokenSelection):
    def select(self, tokens):
        return tokens.text | (tokens.position % 2 == 0)


def test_a_rule_of_ones_own_works_by_instance_name_and_path(llava, batches):
    by = {way: atv.prune(copy.deepcopy(llava), batches, selection=way).masks for way in ("OddPositions",)}
    by["instance"] = atv.prune(copy.deepcopy(llava), batches, selection=OddPositions()).masks
    by["path"] = atv.prune(llava, batches, selection=f"{__name__}.OddPositions").masks
    assert all(torch.equal(by["instance"][n], masks[n]) for masks in by.values() for n in masks)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, r"sparsity: expected a number in \[0, 1\), got 1.0"),
        ({"sparsity": float("nan")}, "sparsity: expected"),
        ({"sparsity": 0.6, "pattern": "2:4"}, "sparsity: 0.6 contradicts the pattern '2:4'"),
        ({"pattern": "5:7"}, "5:7 does not divide a row of 32 inputs"),
        ({"pattern": "4:2"}, "0 < N < M"),
        (
            {"pattern": "half"},
            "unknown Pattern 'half'.*NOfM, .*PerBlock, .*'unstructured', or N:M",
        ),
        ({"selection": "DriftTopk"}, "did you mean 'DriftTopK'"),
        ({"selection": "no.such.Rule"}, "cannot import 'no.such.Rule'"),
        ({"criterion": "Wand"}, "unknown Criterion 'Wand'"),
        ({"allocation": "OLW"}, "unknown Allocation 'OLW'"),
        ({"targets": ["qq_proj"]}, "'qq_proj' matches no Linear"),
        ({"targets": []}, r"targets: expected at least one name or shell pattern, got \[\]"),
        ({"run_dir": "/proc/nowhere"}, "run_dir: cannot write"),
    ],
)
def test_bad_arguments_are_named_before_calibration(llava, batches, arguments, message):
    with pytest.raises(ValueError, match=message):
        atv.prune(llava, batches, **arguments)


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_a_precision_that_casts_the_model_is_refused(llava, batches, precision):
    trainer = quiet_trainer(precision=precision)
    message = f"trainer.precision: expected 32-true, bf16-mixed, 16-mixed, got {precision}, which casts the whole model"
    with pytest.raises(ValueError, match=message):
        atv.prune(llava, batches, trainer=trainer)
    with pytest.raises(ValueError, match=message):
        atv.decouple(llava, batches, text=atv.Pathway("TextOnly"), visual=atv.Pathway("AllTokens"), trainer=trainer)
    assert {weight.dtype for weight in llava.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("limit_predict_batches", 1, "expected 1.0, got 1, which may leave out calibration samples; to use fewer"),
        ("limit_predict_batches", 0.5, "expected 1.0, got 0.5, which may leave"),
        ("fast_dev_run", True, "expected false, got True, which may leave"),
        ("fast_dev_run", 2, "expected false, got 2, which may leave"),
    ],
)
def test_a_trainer_that_leaves_samples_out_is_refused(llava, batches, option, value, message):
    trainer = quiet_trainer(**{option: value})
    with pytest.raises(ValueError, match=rf"trainer\.{option}: {message}"):
        atv.prune(llava, batches, trainer=trainer)
    with pytest.raises(ValueError, match=rf"trainer\.{option}: {message}"):
        atv.decouple(llava, batches, text=atv.Pathway("TextOnly"), visual=atv.Pathway("AllTokens"), trainer=trainer)


def test_a_limit_that_leaves_nothing_out_is_none(llava, batches):
    atv.prune(llava, batches, trainer=quiet_trainer(limit_predict_batches=1.0, fast_dev_run=0))


def test_no_batches_and_batches_without_ids_are_refused(llava):
    with pytest.raises(ValueError, match="there is no calibration batch"):
        atv.prune(llava, [])
    with pytest.raises(ValueError, match="batch 0 has no input_ids"):
        atv.prune(llava, [{"pixel_values": torch.zeros(1)}])


IDS = torch.ones(2, 3, dtype=torch.long)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"input_ids": IDS}, r"got a single one \(dict\); put it into a list"),
        (BatchEncoding({"input_ids": IDS}), r"got a single one \(BatchEncoding\); put it into a list"),
        ([(IDS, IDS)], "batch 0 is a tuple; expected the dict that a processor returns"),
        (({"input_ids": ids} for ids in (IDS, IDS.tolist())), "input_ids of batch 1 is of type list, .* return_tens"),
        ([{"input_ids": IDS.numpy()}], "input_ids of batch 0 is of type ndarray, not a tensor"),
        ([{"input_ids": IDS, "attention_mask": IDS.tolist()}], "attention_mask of batch 0 is of type list"),
        ([{"input_ids": IDS[0]}], r"input_ids of batch 0 are \(3,\); expected \(batch, length\)"),
        ([{"input_ids": IDS, "attention_mask": 0 * IDS}], "batch 0 is all padding"),
    ],
)
def test_batches_that_are_not_what_a_processor_returns_are_refused(llava, given, message):
    with pytest.raises(ValueError, match=f"batches: .*{message}"):
        atv.prune(llava, given)


def test_a_pool_without_tokens_is_refused(llava):
    with pytest.raises(ValueError, match="VisualOnly picked no token"):
        atv.prune(llava, [make_batch([5], 1, images=False)], selection="VisualOnly")


def test_nan_activations_are_traced_to_block_and_sample(llava, batches):
    llava.model.language_model.layers[1].mlp.down_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="the output of block 1, sample 0 contains NaN"):
        atv.prune(llava, batches)
    batches[1]["pixel_values"][:] = float("nan")
    with pytest.raises(ValueError, match="the input of block 0, sample 2 contains NaN"):
        atv.prune(llava, batches)


def test_models_without_decoder_or_image_token_are_refused(llava, batches):
    with pytest.raises(ValueError, match="CLIPVisionModel has no language decoder"):
        atv.prune(llava.model.vision_tower, batches)
    from transformers import LlamaForCausalLM

    with pytest.raises(ValueError, match="LlamaForCausalLM has no image token"):
        atv.prune(LlamaForCausalLM(llava.config.text_config), batches)
