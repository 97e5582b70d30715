"""Mixture-of-experts decoders, against a slow implementation written from the formulas of the three layouts."""

import copy

import numpy as np
import pytest
import torch
from helpers.moe import TEXTS, ernie, ernie_batch, layers, moe_llava
from helpers.tiny import IMAGE, make_batch, singles

import atv
from atv.calibration.starved_experts import FEWEST_TOKENS
from atv.calibration.suspension import SuspendedForward, doors
from atv.model.block_shards import finish_folder
from atv.model.experts import FusedExperts
from atv.model.lvlm import LVLM
from atv.model.offload import load_offloaded

KINDS = list(TEXTS)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numbers(tensor):
    return tensor.detach().double().numpy()


def routed(kind, moe, hidden):
    """expert -> (tokens, what it reads, what its last projection reads), for hidden states (n, hidden)."""
    router = moe.router if hasattr(moe, "router") else moe.gate
    logits = hidden @ numbers(router.weight).T + (numbers(router.bias) if kind == "gpt_oss" else 0)
    best = np.argsort(-logits, axis=1)[:, : 1 if kind == "llama4_text" else 2]
    first = numbers(moe.experts.gate_up_proj)
    result = {}
    for expert in range(4):
        tokens = np.flatnonzero((best == expert).any(1))
        x = hidden[tokens]
        if kind == "llama4_text":
            x = x * sigmoid(logits[tokens, expert])[:, None]
        if kind == "qwen3_moe":
            gate, up = np.split(x @ first[expert].T, 2, axis=1)
            inner = gate * sigmoid(gate) * up
        elif kind == "llama4_text":
            gate, up = np.split(x @ first[expert], 2, axis=1)
            inner = gate * sigmoid(gate) * up
        else:
            both = x @ first[expert] + numbers(moe.experts.gate_up_proj_bias)[expert]
            gate, up = both[:, ::2].clip(max=7), both[:, 1::2].clip(-7, 7)
            inner = (up + 1) * gate * sigmoid(1.702 * gate)
        result[expert] = tokens, x, inner
    return result


def chosen_tokens(pool, visual, drift, mean_drift):
    text = np.flatnonzero(~visual)
    budget = {"TextOnly": 0, "AllTokens": visual.sum(), "DriftTopK": round(min(1, mean_drift) * len(text))}[pool]
    ranked = sorted(np.flatnonzero(visual), key=lambda i: (-drift[i], i))
    return np.array([*text, *ranked[:budget]], dtype=int)


def kept(weight, norm):
    """Half of each row's weights, those of the highest |W| * norm."""
    score = np.abs(weight) * norm
    mask = np.ones_like(score, dtype=bool)
    for row, lowest in enumerate(np.argsort(score, axis=1, kind="stable")[:, : score.shape[1] // 2]):
        mask[row, lowest] = False
    return mask


def observed(model, block, name, one):
    """Of one sample: the block's input and output, its Linears' inputs, and what its experts' router reads."""
    caught = {"linears": {}}
    layer = model.model.language_model.layers[block]
    linears = {n: m for n, m in layer.named_modules() if isinstance(m, torch.nn.Linear) and "router" not in n}

    def catch(n):
        return lambda _, args: caught["linears"].update({n: numbers(args[0].flatten(0, -2))})

    handles = [m.register_forward_pre_hook(catch(n)) for n, m in linears.items()]
    moe = model.get_submodule(name)
    handles += [
        layer.register_forward_hook(lambda _, args, out: caught.update(x=numbers(args[0][0]), y=numbers(out[0]))),
        moe.register_forward_pre_hook(lambda _, args: caught.update(moe=numbers(args[0].flatten(0, -2)))),
    ]
    with torch.no_grad():
        model(**one, use_cache=False)
    for handle in handles:
        handle.remove()
    return caught


def reference_masks(kind, model, batches, pool):
    """Prunes ``model`` sample by sample in float64, experts by the tokens that the router gives them."""
    masks = {}
    for block, name in enumerate(layers(model)):
        seen = [(one["input_ids"][0].numpy() == IMAGE, observed(model, block, name, one)) for one in singles(batches)]
        moe, drifts = model.get_submodule(name), []
        for _, caught in seen:
            x, y = caught["x"], caught["y"]
            drifts.append(1 - (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1))
        mean = np.concatenate([drift[visual] for (visual, _), drift in zip(seen, drifts, strict=True)]).mean()
        linears, first, last, count = {}, np.zeros((4, 32)), np.zeros((4, 24)), np.zeros(4)
        for (visual, caught), drift in zip(seen, drifts, strict=True):
            tokens = chosen_tokens(pool, visual, drift, mean)
            for n, x in caught["linears"].items():
                linears[n] = linears.get(n, 0) + (x[tokens] ** 2).sum(0)
            for expert, (own, x, inner) in routed(kind, moe, caught["moe"]).items():
                enters = np.isin(own, tokens)
                first[expert] += (x[enters] ** 2).sum(0)
                last[expert] += (inner[enters] ** 2).sum(0)
                count[expert] += enters.sum()
        prefix = f"model.language_model.layers.{block}"
        for n, sums in linears.items():
            linear = model.get_submodule(f"{prefix}.{n}")
            masks[f"{prefix}.{n}"] = torch.from_numpy(kept(numbers(linear.weight), np.sqrt(sums)))
            linear.weight.data[~masks[f"{prefix}.{n}"]] = 0
        for parameter, sums, stand_in in (("gate_up_proj", first, first.sum(0)), ("down_proj", last, np.ones(24))):
            for expert in range(4):
                weight = getattr(moe.experts, parameter).data[expert]
                weight = weight if kind == "qwen3_moe" else weight.T
                norm = np.sqrt(sums[expert] if count[expert] >= FEWEST_TOKENS else stand_in)
                mask = torch.from_numpy(kept(numbers(weight), norm))
                weight[~mask] = 0
                masks[f"{name}.experts.{expert}.{parameter}"] = mask
    return masks


@pytest.mark.filterwarnings("ignore:block .* fewer than")
@pytest.mark.parametrize("pool", ["AllTokens", "TextOnly", "DriftTopK"])
@pytest.mark.parametrize("kind", KINDS)
def test_masks_follow_the_formulas(kind, pool, batches):
    model = moe_llava(kind)
    expected = reference_masks(kind, copy.deepcopy(model), batches, pool)
    report = atv.prune(model, batches, selection=pool)
    assert report.masks.keys() == expected.keys()
    assert [n for n in expected if not torch.equal(report.masks[n], expected[n])] == []


@torch.no_grad()
@pytest.mark.parametrize("implementation", ["eager", "batched_mm", "grouped_mm"])
@pytest.mark.parametrize("kind", KINDS)
def test_observing_changes_no_logit(kind, implementation, batches):
    model = moe_llava(kind)
    if kind != "llama4_text":
        model.model.language_model.set_experts_implementation(implementation)
    lvlm = LVLM.of(model)
    plain = [model(**batch, use_cache=False).logits for batch in batches]
    with doors(lvlm, lvlm.prunable, propagate=True):
        for batch, logits in zip(batches, plain, strict=True):
            forward = SuspendedForward(model, batch)
            for block in range(len(lvlm.blocks)):
                forward.advance(block)
            assert torch.equal(forward._greenlet.switch().logits, logits)


@pytest.mark.filterwarnings("ignore:block .* fewer than")
@pytest.mark.parametrize("kind", KINDS)
def test_pruning_zeroes_linears_and_experts_and_nothing_else(kind, batches):
    model = moe_llava(kind)
    before = copy.deepcopy(model.state_dict())
    report = atv.prune(model, batches, sparsity=0.6)
    for name, tensor in model.state_dict().items():
        expected = before[name].clone()
        linear = name.removesuffix(".weight")
        if linear in report.masks:
            expected *= report.masks[linear]
        elif name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            layer, parameter = name.rsplit(".", 1)
            masks = torch.stack([report.masks[f"{layer}.{expert}.{parameter}"] for expert in range(4)])
            expected *= masks if kind == "qwen3_moe" else masks.mT
        assert torch.equal(tensor, expected), name
    fused = sum(tensor.numel() for name, tensor in before.items() if name.endswith("_proj"))
    linears = sum(tensor.numel() for name, tensor in before.items() if name.removesuffix(".weight") in report.masks)
    assert sum(mask.numel() for mask in report.masks.values()) == fused + linears
    alone = {n for n in before if "language_model.layers" in n and "norm" not in n}
    alone -= {f"{n}.weight" for n in report.masks}
    assert set(report.left_dense) == {n for n in alone if not n.endswith(("_proj", "_proj.bias"))}
    assert sum("router" in n or "mlp.gate." in n for n in report.as_dict()["left_dense"]) == 2 + 2 * (kind == "gpt_oss")


def test_an_expert_without_tokens_says_so_and_takes_what_stands_in(batches):
    model = moe_llava("gpt_oss")
    for moe in layers(model).values():
        moe.router.bias.data[2] = -1e4
    weights = {n: t.weight.clone() for n, t in LVLM.of(model).prunable.items()}
    with pytest.warns(UserWarning, match="block .: fewer than 8 tokens") as warned:
        report = atv.prune(model, batches)
    line = f"block 1: fewer than 8 tokens of the pool reached expert 2 (0 tokens) of {list(layers(model))[1]}.experts;"
    assert len(warned) == 2 and str(warned[1].message).startswith(line)
    for block in report.blocks:
        (layer,) = block.experts["both"].values()
        pool = sum(block.selected["both"].values())
        assert layer["tokens"][2] == 0 and layer["starved"] == [2] and sum(layer["tokens"]) == 2 * pool
    name = "model.language_model.layers.0.mlp.experts.2.down_proj"
    assert torch.equal(report.masks[name], torch.from_numpy(kept(numbers(weights[name]), 1)))


@pytest.mark.filterwarnings("ignore:block .* fewer than")
@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_models_give_the_same_logits(kind, batches, tmp_path):
    model = moe_llava(kind)
    report = atv.prune(model, batches, run_dir=tmp_path)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert all(torch.equal(loaded(**batch).logits, model(**batch).logits) for batch in batches)
    masks = atv.load_masks(tmp_path / "masks.safetensors")
    assert masks.keys() == report.masks.keys() and all(torch.equal(masks[n], report.masks[n]) for n in masks)


def test_targets_name_experts_and_never_routers(batches):
    lvlm = LVLM.of(moe_llava("llama4_text"))
    assert len(lvlm.targets(["gate_up_proj"])) == 8
    assert {name.split(".")[3] for name in lvlm.targets(["*.experts.2.*"])} == {"0", "1"}
    assert not any("router" in name for name in lvlm.targets(None))
    with pytest.raises(ValueError, match=r"'router' .*layers.0.feed_forward.router steers tokens and stays dense"):
        lvlm.targets(["router"])


def test_one_target_expert_leaves_the_others_alone(batches):
    model = moe_llava("qwen3_moe")
    before = copy.deepcopy(model.state_dict())
    report = atv.prune(model, batches, targets=["*.1.mlp.experts.3.down_proj"], pattern="2:4")
    (name,) = report.masks
    after = model.state_dict()
    changed = [n for n in before if not torch.equal(before[n], after[n])]
    assert changed == ["model.language_model.layers.1.mlp.experts.down_proj"]
    assert torch.equal(before[changed[0]][:3], after[changed[0]][:3])
    assert (report.masks[name].unflatten(1, (-1, 4)).sum(-1) == 2).all()


def test_text_only_pools_give_experts_text_tokens_only():
    batches = [make_batch([30], 1), make_batch([25], 2)]
    report = atv.prune(moe_llava("qwen3_moe"), batches, selection="TextOnly", propagate=False)
    for block in report.blocks:
        (layer,) = block.experts["both"].values()
        assert sum(layer["tokens"]) == 2 * 55


class LateTokens(atv.TokenSelection):
    """The tokens from position 6 on."""

    def select(self, tokens):
        return tokens.position >= 6


@pytest.mark.filterwarnings("ignore:block .* fewer than")
@pytest.mark.parametrize("modality", ["text", "vision"])
def test_experts_of_one_modality_see_its_tokens(modality):
    batches = [ernie_batch([30, 40], 1), ernie_batch([35], 2, "right")]
    model, name = ernie(), f"model.language_model.layers.0.mlp.{modality}_moe.experts"
    sums, count = torch.zeros(4, 32, dtype=torch.float64), torch.zeros(4)

    def note(module, args):
        for expert in range(4):
            x = args[0][late & (args[1] == expert).any(1)].double()
            sums[expert] += x.square().sum(0)
            count[expert] += len(x)

    handle = model.get_submodule(name).register_forward_pre_hook(note)
    for one in singles(batches):
        visual = one["input_ids"] == IMAGE
        late = (torch.arange(visual.numel()) >= 6)[visual[0] if modality == "vision" else ~visual[0]]
        with torch.no_grad():
            model(**one, moe_mm_token_type_ids=visual.int(), use_cache=False)
    handle.remove()
    weights = numbers(model.get_submodule(name).gate_up_proj)
    report = atv.prune(model, batches, selection=LateTokens())
    assert report.blocks[0].experts["both"][name]["tokens"] == count.int().tolist()
    for expert in range(4):
        norm = numbers((sums[expert] if count[expert] >= FEWEST_TOKENS else sums.sum(0)).sqrt())
        assert torch.equal(report.masks[f"{name}.{expert}.gate_up_proj"], torch.from_numpy(kept(weights[expert], norm)))


@pytest.mark.filterwarnings("ignore:block .* fewer than")
@pytest.mark.parametrize("kind", KINDS)
def test_offloaded_experts_have_the_same_masks_and_weights(kind, batches, tmp_path):
    whole, out = moe_llava(kind), tmp_path / "out"
    whole.save_pretrained(tmp_path / "dense")
    masks = atv.prune(whole, batches).masks
    model = load_offloaded(tmp_path / "dense", "disk", torch.device("cpu"), tmp_path / "scratch")
    offloaded = atv.prune(model, batches, run_dir=out).masks
    assert all(torch.equal(offloaded[name], mask) for name, mask in masks.items())
    finish_folder(LVLM.of(model), out)
    loaded = type(whole).from_pretrained(out)
    assert all(torch.equal(loaded.state_dict()[name], weight) for name, weight in whole.state_dict().items())


def test_experts_whose_gate_lies_apart_are_not_taken_for_gateless_ones():
    class Apart(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, shape in {"gate_proj": (4, 6, 8), "up_proj": (4, 6, 8), "down_proj": (4, 8, 6)}.items():
                setattr(self, name, torch.nn.Parameter(torch.zeros(shape)))

        def forward(self, hidden_states, top_k_index, top_k_weights):
            raise NotImplementedError

    layer = Apart()
    assert FusedExperts.of("mlp.experts", layer) is None
    del layer.gate_proj
    assert FusedExperts.of("mlp.experts", layer).first == "up_proj"
