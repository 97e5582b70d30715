import copy
import re
from itertools import product
from pathlib import Path

import pytest
import torch
import yaml
from conformance.sizes import text
from conformance.table import build, usual_samples
from helpers.tiny import make_batch, random_llava

import atv
from atv.cli import parser
from atv.data import HFStream
from atv.evaluation.picture_bounds import PIXEL_BOUNDS
from atv.runtime.trainer import quiet_trainer
from atv.selection import TokenSelection
from experiments.engines import OWN, Exported, Prompt, compare
from experiments.estimate import SIZES
from experiments.grid import METHODS, PAPER, SETTINGS, every, model_file, models, variants, write

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "experiments" / "recipes").glob("*.yaml"))
FILES = [*sorted((ROOT / "experiments").glob("*.yaml")), *RECIPES]
# Model type, and the decoder where the type's tiny model has another.
TWINS = {
    "llava_next_8b": ("llava_next", {}),
    "llava_onevision_7b": ("llava_onevision", {}),
    "qwen2_vl_7b": ("qwen2_vl", {}),
    "qwen2_5_vl_7b": ("qwen2_5_vl", {}),
    "qwen3_vl_8b": ("qwen3_vl", {}),
    "internvl3_5_8b": ("internvl", {"text_config": text("qwen3")}),
    "gemma3_12b": ("gemma3", {}),
    "smolvlm_2b": ("smolvlm", {}),
    "cosmos3_edge": ("cosmos3_edge", {}),
}
RULES = {
    "wanda": ("AllTokens", "Wanda"),
    "sparsegpt": ("AllTokens", "SparseGPT"),
    "amia": ("AMIA", "Wanda"),
    "atv": ("DriftTopK", "Wanda"),
}
RUNS = {f"{model}/{variant.name}": (model, variant) for model, variant in every()}
# Every run of one model, and one of each of the others; the slow run has all of them.
QUICK = {name for name in RUNS if name.startswith("qwen2_5_vl_7b/") or name.endswith("/atv_50")}


def test_there_are_experiments():
    assert FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_experiment_parses_and_instantiates(file, parse):
    assert isinstance(parse(file)["selection"], TokenSelection)


def test_every_recipe_is_advised_with_its_numbers_and_a_command():
    advice = (ROOT / "docs" / "methods.md").read_text().partition("## Which recipe")[2]
    assert set(re.findall(r"`(\w+\.yaml)`", advice)) == {file.name for file in RECIPES}
    for file in RECIPES:
        assert f"atv prune --config experiments/recipes/{file.name} " in file.read_text()
        named = yaml.safe_load(file.read_text()).keys()
        # A recipe leaves model and data to its user, unless it is meant for one model alone.
        assert named.isdisjoint({"model", "calibration"}) or file.name.startswith("bundled_")


def test_the_grid_is_the_papers_and_one_run_for_todays_models():
    assert models() == sorted(TWINS)
    for model in models():
        names = {(variant.method, variant.setting) for variant in variants(model)}
        assert names == ({*product(METHODS, SETTINGS)} if model in PAPER else {("atv", "50")})
    assert len(RUNS) == 4 * 16 + 5


@pytest.fixture(scope="module")
def twin_of():
    made = {}

    def twin(model):
        if model not in made:
            kind, other = TWINS[model]
            made[model] = build(kind, **other), usual_samples(kind).batches()
        return made[model]

    return twin


@pytest.mark.filterwarnings("ignore:.*X.T X.*")
@pytest.mark.parametrize("run", [pytest.param(run, marks=() if run in QUICK else pytest.mark.slow) for run in RUNS])
def test_every_run_is_one_complete_file_and_prunes_the_models_tiny_twin(run, parse, twin_of, tmp_path):
    model, variant = RUNS[run]
    file = tmp_path / "run.yaml"
    file.write_text(variant.yaml())
    options = parse(file)
    own = yaml.safe_load(model_file(model).read_text())
    assert options["model"] == own["model"] and options["samples"] == 128
    assert isinstance(options["calibration"], HFStream) and options["calibration"].task == "sharegpt4v"
    dense, batches = twin_of(model)
    names = ("selection", "criterion", "pattern", "sparsity", "allocation", "targets", "propagate", "seed")
    pruned, trainer = copy.deepcopy(dense), quiet_trainer(enable_progress_bar=False)
    report = atv.prune(pruned, batches, trainer=trainer, **{name: options[name] for name in names})
    plan = report.settings["plans"]["both"]
    assert (plan["selection"]["class"], plan["criterion"]["class"]) == RULES[variant.method]
    assert report.sparsity == pytest.approx(0.6 if variant.setting == "60" else 0.5, abs=0.02)
    for name, mask in report.masks.items():
        assert not pruned.get_submodule(name).weight[~mask].any()
        if "_" in variant.setting:
            kept, of = map(int, variant.setting.split("_"))
            assert (mask.unflatten(1, (-1, of)).sum(-1) == kept).all()


@pytest.mark.parametrize("model", ["qwen2_vl_7b", "qwen2_5_vl_7b"])
def test_calibration_sees_pictures_of_the_size_that_evaluation_shows(model):
    options = yaml.safe_load(model_file(model).read_text())
    assert (options["min_pixels"], options["max_pixels"]) == PIXEL_BOUNDS[TWINS[model][0]]


def test_files_together_on_the_command_line_are_the_complete_file(parse):
    variant = next(variant for variant in variants("qwen2_5_vl_7b") if variant.name == "atv_2_4")
    files = ["common", "models/qwen2_5_vl_7b", "methods/atv", "settings/2_4"]
    named = [part for file in files for part in ("--config", f"experiments/{file}.yaml")]
    top = parser("prune")
    dumped = yaml.safe_load(top.dump(top.parse_args(["prune", *named, "--output", "out"])))["prune"]
    assert dumped == variant.options() | {"output": "out"}


def test_files_are_written(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("experiments.grid.models", lambda: ["gemma3_12b"])
    write(tmp_path)
    (file,) = tmp_path.rglob("*.yaml")
    assert file == tmp_path / "gemma3_12b" / "atv_50.yaml" and "1 runs" in capsys.readouterr().out
    assert yaml.safe_load(file.read_text())["model"] == "google/gemma-3-12b-it"


def test_every_models_size_is_known():
    assert {yaml.safe_load(model_file(model).read_text())["model"] for model in models()} == {*SIZES}


def test_unknown_names_list_the_choices():
    with pytest.raises(
        ValueError, match="'gpt' is neither a YAML file nor one of the models: cosmos3_edge, gemma3_12b"
    ):
        variants("gpt")
    with pytest.raises(ValueError, match=r"methods: unknown 'magnitude'\. Choices: sparsegpt, wanda, amia, atv"):
        variants("gemma3_12b", methods="atv,magnitude")
    with pytest.raises(ValueError, match=r"settings: unknown '70'\. Choices: 50, 60, 2_4, 4_8, or all"):
        variants("gemma3_12b", settings="70")


decomposition = pytest.importorskip("transformers.exporters.utils", reason="an older transformers exports nothing")


def parts_and_prompt(model, steps):
    pieces = decomposition.decompose_for_generation(model, make_batch([5], 1))
    return {name: piece for name, (piece, _) in pieces.items()}, Prompt(
        pieces["language_model"][1]["inputs_embeds"], steps
    )


def test_the_parts_answer_as_generate_does():
    model, batch = random_llava().eval(), make_batch([5], 1)
    parts, prompt = parts_and_prompt(model, 6)
    logits, turn = prompt.answer(parts)
    # An end would cut the answer short.
    model.generation_config.eos_token_id = None
    options = {"max_new_tokens": 7, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    expected = torch.cat(model.generate(**batch, **options).logits)
    assert logits.shape == expected.shape and torch.allclose(logits, expected, atol=1e-5)
    assert turn.prefill > 0 and turn.decode > 0


def test_another_answer_is_told_apart():
    parts, prompt = parts_and_prompt(random_llava().eval(), 3)
    other = parts | {"lm_head": lambda input: -parts["lm_head"](input=input)}
    share, same = Exported(prompt, {OWN: parts, "same": parts, "other": other}).difference("same")
    assert share == 0 and same
    share, same = Exported(prompt, {OWN: parts, "same": parts, "other": other}).difference("other")
    assert share > 0.5 and not same


@pytest.mark.slow
def test_onnx_runtime_computes_the_bundled_model(capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    compare(["bundled"], prompt_tokens=1, new_tokens=2, repeats=1)
    assert "| yes | 1 | 1 | 1 | 1 |" in capsys.readouterr().out
