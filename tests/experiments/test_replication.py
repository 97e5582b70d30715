import copy
import json
from functools import partial

import pytest
from conformance.layout import make_batch
from conformance.sizes import MROPE, text
from conformance.table import TYPES, build, usual_samples
from helpers.benchmark_data import read_lines

import atv
from atv.api import BenchmarkQuestions
from atv.cli import main as atv_main
from atv.data import TextAlone
from atv.runtime.trainer import quiet_trainer
from experiments.devices import CommandFailed, Commands
from experiments.replication.__main__ import replicate
from experiments.replication.grid import BENCHMARKS, METHODS, replicas
from experiments.replication.table import DENSE_PRINTED, PRINTED, joint_wins, retention
from experiments.table_run import run_command

main = partial(run_command, "replication", replicate)
RULES = {
    "atv": ("DriftTopK", "Wanda", "Uniform"),
    "tamp": ("AMIA", "Wanda", "DAS"),
    "wanda": ("AllTokens", "Wanda", "Uniform"),
    "sparsegpt": ("AllTokens", "SparseGPT", "Uniform"),
}


def test_every_run_of_the_table_is_one_complete_file(parse, tmp_path):
    runs = replicas("cosmos3_edge", data=tmp_path)
    assert {run.name for run in runs} == {*PRINTED} and len(runs) == 18
    for run in runs:
        (tmp_path / "run.yaml").write_text(run.yaml())
        options = parse(tmp_path / "run.yaml")
        assert (options["model"], options["samples"], options["seed"]) == ("nvidia/Cosmos3-Edge", 128, 42)
        source = options["calibration"]
        assert isinstance(source, TextAlone) == ("_text" in run.name)
        (questions,) = source.origins()
        assert type(questions) is BenchmarkQuestions and questions.overlap and str(questions.data) == str(tmp_path)
        assert questions.benchmark == {"mmbench": "MMBench", "mmmu": "MMMU", "ok_vqa": "OKVQA"}[run.setting]


@pytest.fixture(scope="module")
def twin():
    """Cosmos3-Edge with all of its 28 blocks, each of a tiny width."""
    return build("cosmos3_edge", text_config=text("cosmos3_edge_text", num_hidden_layers=28, **MROPE))


@pytest.mark.filterwarnings("ignore:.*X.T X.*")
@pytest.mark.parametrize("method", METHODS)
def test_every_method_prunes_all_168_linears_of_the_tiny_twin(method, parse, twin, tmp_path):
    (run,) = replicas("cosmos3_edge", method, "mmbench")
    (tmp_path / "run.yaml").write_text(run.yaml())
    options = parse(tmp_path / "run.yaml")
    batches = usual_samples("cosmos3_edge").batches()[:2]
    if "_text" in method:
        layout = TYPES["cosmos3_edge"].layout
        batches = [make_batch(layout, [[7], [5]]), make_batch(layout, [[6]], 2)]
    names = ("selection", "criterion", "pattern", "sparsity", "allocation", "targets", "propagate", "seed")
    pruned, trainer = copy.deepcopy(twin), quiet_trainer(enable_progress_bar=False)
    report = atv.prune(pruned, batches, trainer=trainer, **{name: options[name] for name in names})
    plan = report.settings["plans"]["both"]
    assert tuple(plan[part]["class"] for part in ("selection", "criterion", "allocation")) == RULES[run.method]
    assert len(report.masks) == 168
    for name, mask in report.masks.items():
        assert not pruned.get_submodule(name).weight[~mask].any()
        if run.method != "tamp":
            assert ((~mask).sum(1) == mask.shape[1] // 2).all(), name
    assert report.sparsity == pytest.approx(0.5, abs=0.02)


def test_the_model_has_the_linears_that_the_replication_counts():
    config = type(build("cosmos3_edge").config.get_text_config())()
    width, heads, middle = config.hidden_size, config.num_attention_heads, config.intermediate_size
    keys = config.num_key_value_heads * config.head_dim
    a_block = 2 * width * heads * config.head_dim + 2 * width * keys + 2 * width * middle
    assert config.num_hidden_layers * 6 == 168 and config.num_hidden_layers * a_block == 1_409_286_144


def test_the_replications_means_follow_from_its_scores():
    means = {name: round(retention(own, DENSE_PRINTED), 1) for name, own in PRINTED.items()}
    assert [means[f"atv_{name}"] for name in ("mmbench", "mmmu", "ok_vqa")] == [87.1, 82.1, 82.0]
    assert [means[f"tamp_text_{name}"] for name in ("mmbench", "mmmu", "ok_vqa")] == [24.6, 52.8, 45.9]
    assert joint_wins(PRINTED) == (9, 9)


class Here(Commands):
    """Commands in this process."""

    def run(self, arguments, device, log):
        if atv_main(arguments):
            raise CommandFailed(f"atv {arguments[0]} failed")


@pytest.mark.slow
def test_the_whole_command_on_the_bundled_model(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("experiments.table_run.Commands", Here)
    out = tmp_path / "out"
    (tmp_path / "small.yaml").write_text("model: bundled\nsamples: 4\nbatch_size: 4\n")
    call = ["--model", tmp_path / "small.yaml", "--output", out, "--data", data]
    call = [str(part) for part in [*call, "--methods", "atv,atv_text", "--calibrations", "mmbench"]]
    assert main([*call, "--dry-run"]) == 0 and not out.exists()
    assert main(call) == 0, capsys.readouterr().err
    report = json.loads((out / "atv_text_mmbench" / "report.json").read_text())
    assert report["calibration"]["data"]["source"]["benchmark"] == "MMBench"
    assert all(block["tokens"]["visual"] == 0 for block in report["blocks"])
    scores = out / "dense" / "scores"
    credits = [[row["credit"] for row in read_lines(scores / name / "answers.jsonl")] for name in BENCHMARKS]
    ours = [f"{100 * sum(own) / len(own):.2f}" for own in credits]
    assert f"| dense |  | {' | '.join(ours)} |" in (out / "table.md").read_text()
    assert "joint wins" in capsys.readouterr().out


def test_unknown_names_list_the_choices(capsys):
    assert main(["--methods", "magnitude"]) == 2
    assert "Choices: atv, atv_text, tamp, tamp_text, wanda, sparsegpt, or all" in capsys.readouterr().err
