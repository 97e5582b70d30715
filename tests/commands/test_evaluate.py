import json

import pandas as pd
import pytest
from helpers.benchmark_data import read_lines


def test_scores_every_task_and_keeps_every_answer(atv_command, tmp_path):
    out = atv_command.done("evaluate", "--groups", 2, "--split", "dev", "--output", tmp_path)
    assert "multistep" in out and "average" in out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert len(scores["tasks"]) == 9 and scores["tasks"]["circular"] == {
        "score": scores["tasks"]["circular"]["score"],
        "groups": 2,
        "questions": 8,
    }
    answers = pd.read_parquet(tmp_path / "answers.parquet")
    assert len(answers) == 7 * 2 + 4 * 2 + 2 * 2 and {"prediction", "credit", "answer"} <= set(answers.columns)


def test_bad_input_is_told_before_a_model_is_loaded(atv_command, monkeypatch):
    monkeypatch.setattr("atv.load", None)
    assert atv_command("evaluate", "--split", "train")[0] == 2
    assert "neither 'bundled' nor" in atv_command("evaluate", "--evaluation", "nowhere")[2]
    assert "Trainer" in atv_command("evaluate", "--trainer.device", "2")[2]
    for option in ("groups", "batch_size", "max_new_tokens"):
        assert f"{option}: expected 1 or more, got 0" in atv_command("evaluate", f"--{option}", 0)[2]


def evaluate(atv_command, data, *more):
    return atv_command("evaluate", "--data", data, "--max_new_tokens", 3, *more)


def test_benchmarks_are_scored_with_counts_versions_and_retention(atv_command, data, tmp_path):
    names = ("--benchmark", "POPE,MMBench,MME")
    code, out, err = evaluate(atv_command, data, *names, "--output", tmp_path / "dense")
    assert code == 0, err
    found = json.loads((tmp_path / "dense" / "scores.json").read_text())["benchmarks"]
    assert list(found) == ["POPE", "MMBench", "MME"]
    pope = found["POPE"]
    assert (pope["of"], pope["questions"], pope["version"], pope["hub"]) == (6, 6, "2", "lmms-lab-encoder/POPE")
    assert f"{pope['right']:.6g} of 6" in out and set(pope["parts"]) == {"precision", "recall", "f1"}
    assert found["MME"]["maximum"] == 2800 and found["MMBench"]["max_new_tokens"] == 3
    lines = read_lines(tmp_path / "dense" / "MMBench" / "answers.jsonl")
    assert len(lines) == 9 and {"question_id", "prediction", "read", "credit", "answer"} <= lines[0].keys()
    # As if the dense model had been right everywhere.
    for name in found:
        file = tmp_path / "dense" / name / "answers.jsonl"
        right = [row | {"credit": 1.0} for row in read_lines(file)]
        file.write_text("".join(json.dumps(row) + "\n" for row in right))
    code, out, err = evaluate(atv_command, data, *names, "--dense", tmp_path / "dense", "--output", tmp_path / "again")
    assert code == 0, err
    kept = json.loads((tmp_path / "again" / "scores.json").read_text())["retention"]
    assert set(kept) == {*found, "average"}
    for name, row in found.items():
        assert kept[name]["value"] == pytest.approx(100 * row["score"] / row["maximum"])
        assert kept[name]["low"] <= kept[name]["value"] <= kept[name]["high"]


def test_all_nine_on_few_questions(atv_command, data, tmp_path):
    code, _, err = evaluate(atv_command, data, "--benchmark", "all", "--groups", 1, "--output", tmp_path / "out")
    assert code == 0, err
    found = json.loads((tmp_path / "out" / "scores.json").read_text())["benchmarks"]
    assert len(found) == 9 and all(row["of"] == 1 for row in found.values())
    assert (found["MMBench"]["questions"], found["MME"]["questions"]) == (3, 2)


@pytest.mark.parametrize("option", [("--split", "dev"), ("--evaluation", "bundled")])
def test_options_of_the_suite_are_refused_beside_a_benchmark(atv_command, data, option):
    code, _, err = evaluate(atv_command, data, "--benchmark", "POPE", *option)
    assert code == 2 and "evaluation and split are for suites only: leave them out with --benchmark" in err


def test_a_benchmark_of_ones_own(atv_command, data, tmp_path):
    (tmp_path / "own.py").write_text(
        "from atv.evaluation.benchmarks import POPE\n\n\nclass OwnPOPE(POPE):\n    hub = 'me/own'\n    version = '7'\n"
    )
    code, out, err = evaluate(
        atv_command, data / "POPE", "--plugin", tmp_path / "own.py", "--benchmark", "OwnPOPE", "--groups", 2
    )
    assert code == 0, err
    assert "OwnPOPE" in out and "7 (local)" in out


def test_the_command_of_lmms_eval(atv_command):
    code, out, _ = atv_command("evaluate", "--benchmark", "MME,MMMU", "--print-lmms-eval")
    assert code == 0 and "--model llava_hf" in out and "--tasks mme,mmmu_val" in out


def test_bad_input_of_benchmarks(atv_command, data, tmp_path):
    assert "did you mean 'MMBench'? Choices:" in atv_command("evaluate", "--benchmark", "MMBenchs")[2]
    assert "name one with --benchmark" in atv_command("evaluate", "--dense", "out")[2]
    assert "no folder" in atv_command("evaluate", "--benchmark", "MME", "--data", tmp_path / "nowhere")[2]
    (tmp_path / "MME").mkdir()
    assert "holds no split 'test'" in evaluate(atv_command, tmp_path, "--benchmark", "MME")[2]
    assert (
        "has no result for POPE; it has none"
        in evaluate(atv_command, data, "--benchmark", "POPE", "--dense", tmp_path / "nowhere")[2]
    )
    code, _, err = evaluate(atv_command, data, "--benchmark", "POPE", "--groups", 2, "--output", tmp_path / "few")
    assert code == 0, err
    code, _, err = evaluate(atv_command, data, "--benchmark", "POPE", "--dense", tmp_path / "few")
    assert code == 2 and "dense: POPE has digest" in err
    few = ("--groups", 2, "--max_new_tokens", 5, "--dense", tmp_path / "few")
    code, _, err = atv_command("evaluate", "--data", data, "--benchmark", "POPE", *few)
    assert code == 2 and "dense: POPE was asked in another way: max_new_tokens is 3 there and 5 here" in err
