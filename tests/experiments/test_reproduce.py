import json
import threading
from functools import partial
from pathlib import Path

import pytest
from helpers.benchmark_data import read_lines

from atv.cli import main as atv_main
from atv.records.evaluation_report import EvaluationReport
from experiments import estimate
from experiments.devices import CommandFailed, Commands, devices, on_devices
from experiments.estimate import SIZES, Size
from experiments.reproduce import reproduce
from experiments.runs import PaperQuestions, PaperRun
from experiments.table_run import run_command

main = partial(run_command, "reproduce", reproduce)
NEXT = SIZES["llava-hf/llama3-llava-next-8b-hf"]


class Here(Commands):
    """Commands in this process; those of ``failing`` fail."""

    failing = set()
    ran = []

    def run(self, arguments, device, log):
        self.ran.append(arguments[0])
        if arguments[0] in self.failing or atv_main(arguments):
            raise CommandFailed(f"atv {arguments[0]} failed")


@pytest.fixture
def small(data, small_pool, tmp_path):
    """A grid of one run on the bundled model, asked POPE's six questions of the tests."""
    (tmp_path / "small.yaml").write_text(f"model: bundled\ncalibration: {small_pool}\nsamples: 4\nbatch_size: 4\n")
    options = ["--model", tmp_path / "small.yaml", "--output", tmp_path / "out", "--data", data]
    options += ["--benchmarks", "POPE", "--methods", "atv", "--settings", "2_4"]
    return [str(option) for option in options]


def answered_right(folder):
    """As if every answer had been right: what the model says of one colour is not the point."""
    file = folder / "POPE" / "answers.jsonl"
    rows = [row | {"credit": 1.0} for row in read_lines(file)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_grid_goes_on_after_a_failure_and_ends_with_the_table(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("experiments.table_run.Commands", Here)
    monkeypatch.setattr(Here, "failing", {"verify"})
    out = tmp_path / "out"
    assert main(small) == 1
    assert "atv_2_4 failed: atv verify failed" in capsys.readouterr().out
    answered_right(out / "dense" / "scores")
    assert (out / "atv_2_4" / "model" / "config.json").is_file() and not (out / "table.md").exists()
    monkeypatch.setattr(Here, "failing", set())
    monkeypatch.setattr(Here, "ran", [])
    assert main(small) == 0
    printed = capsys.readouterr().out
    assert Here.ran == ["prune", "verify", "evaluate"] and "this run is already finished" in printed
    # The weights are gone, what tells of them is not.
    kept = {file.name for file in (out / "atv_2_4").iterdir()}
    assert {"config.yaml", "report.json", "masks.safetensors", "README.md", "scores"} <= kept and "model" not in kept
    score = json.loads((out / "atv_2_4" / "scores" / "scores.json").read_text())["benchmarks"]["POPE"]["score"]
    assert f"| atv | 2:4 | {score:.2f} [" in printed and (out / "table.csv").is_file()
    assert main(small) == 0 and len(Here.ran) == 3
    (tmp_path / "small.yaml").write_text((tmp_path / "small.yaml").read_text().replace("samples: 4", "samples: 5"))
    assert main(small) == 2 and "has different options than this run" in capsys.readouterr().err


class Answering(Commands):
    """Writes a dense model's scores, and notes of which model."""

    def __init__(self):
        super().__init__()
        self.models = []

    def run(self, arguments, device, log):
        asked = dict(zip(arguments[1::2], arguments[2::2], strict=True))
        self.models.append(asked["--model"])
        row = {"score": 90.0, "of": 6, "version": 1}
        EvaluationReport({"limit": None, "data": None}, benchmarks={"POPE": row}).write(Path(asked["--output"]))


def test_dense_answers_of_another_model_or_of_other_pictures_are_not_taken(tmp_path):
    def dense(model, **pixels):
        return PaperRun(tmp_path / "dense", model, pixels, PaperQuestions(["POPE"]))

    commands, first = Answering(), dense("one", max_pixels=9)
    first.begin()
    first.run(commands, "")
    dense("one", max_pixels=9).run(commands, "")
    assert first.state == "finished" and commands.models == ["one"]
    for other in (dense("two", max_pixels=9), dense("one", max_pixels=8), dense("one")):
        assert other.state == "begun"
        with pytest.raises(ValueError, match=r"output: '.*dense/config.yaml' has different options than this run"):
            other.begin()
    # Of an earlier version: evaluating goes on from the answers, and refuses another model's.
    (tmp_path / "dense" / "config.yaml").unlink()
    assert not first.evaluated()


@pytest.mark.slow
def test_in_processes_of_their_own(small, tmp_path, capsys):
    main([*small, "--keep-models"])
    printed, out = capsys.readouterr().out, tmp_path / "out"
    assert "dense: finished" in printed and "atv_2_4: finished" in printed
    assert (out / "atv_2_4" / "model" / "config.json").is_file()
    assert "matches its masks and its report" in (out / "atv_2_4" / "verify.log").read_text()


@pytest.mark.slow
def test_a_command_that_fails_says_why(tmp_path):
    with pytest.raises(CommandFailed, match=r"atv verify exited with code 2: atv: error: .*nowhere"):
        Commands().run(["verify", "nowhere"], "", tmp_path / "verify.log")


def test_hours_and_disk_are_printed_and_nothing_runs(small, tmp_path, capsys):
    assert main([*small, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "A rule of thumb" in printed and "GB are free" in printed and "atv_2_4" in printed
    assert not (tmp_path / "out").exists()


def test_a_large_model_without_a_gpu_is_warned_of(monkeypatch, capsys):
    monkeypatch.setattr("experiments.table_run.devices", lambda: [""])
    assert main(["--model", "llava_next_8b", "--dry-run", "--limit", "10"]) == 0
    printed = capsys.readouterr().out
    assert "no GPU: 8.4 B parameters on the CPU" in printed and "amia_4_8" in printed


def test_bad_input(capsys):
    assert main(["--model", "llava"]) == 2
    assert "nor one of the models: cosmos3_edge, gemma3_12b, internvl3_5_8b" in capsys.readouterr().err
    assert main(["--model", "llava_next_8b", "--benchmarks", "POP"]) == 2
    assert "did you mean 'POPE'?" in capsys.readouterr().err


def test_the_estimate_is_the_papers_wall_clock_for_the_papers_model():
    assert 3600 * estimate.pruning_hours(NEXT, "atv", 128, estimate.GPU_RATE) == pytest.approx(99.6)
    half = Size(NEXT.parameters / 2, NEXT.visual)
    assert 3600 * estimate.pruning_hours(half, "wanda", 64, estimate.GPU_RATE) == pytest.approx(73.7 / 4)
    # 2,374 questions of 2,400 tokens: 2 * 8.36e9 * 2400 / 1e14 = 0.401 seconds each, and 0.1.
    assert 3600 * estimate.evaluation_hours(NEXT, ["MME"], None, 1e14) == pytest.approx(2374 * 0.50128)
    assert estimate.questions(["POPE", "MME"], 10) == 30
    # The download, two masks of a bit, two models, and one in the making.
    assert estimate.disk_bytes(Size(8e9, 1), 2, True, 1) == 8e9 * (2 + 0.25 + 4 + 2)
    assert estimate.size_of("bundled").parameters == pytest.approx(3.46e6, rel=0.01)
    assert estimate.size_of("owner/unknown") is None


def test_every_gpu_has_one_job_at_a_time(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert devices() == ["3", "5"]
    both, busy, seen = threading.Barrier(2, timeout=10), set(), []

    def run(job, device):
        assert device not in busy
        busy.add(device)
        both.wait()
        seen.append(device)
        busy.remove(device)
        if job == 1:
            raise CommandFailed("no room")

    assert on_devices(range(4), devices(), run, Commands()) == {1: "no room"}
    assert sorted(seen) == ["3", "3", "5", "5"]


def test_an_error_of_our_own_stops_what_is_under_way():
    commands = Commands()

    def run(job, device):
        raise TypeError("a bug")

    with pytest.raises(TypeError):
        on_devices([1, 2], [""], run, commands)
    with pytest.raises(CommandFailed, match="stopped before it started"):
        commands._start(["models"], "", None)
