import json

import pandas as pd


def test_scores_every_task_and_keeps_every_answer(atv_command, tmp_path):
    code, out, err = atv_command("evaluate", "--groups", 2, "--split", "dev", "--output", tmp_path)
    assert code == 0, err
    assert "multistep" in out and "average" in out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert len(scores["tasks"]) == 9 and scores["tasks"]["circular"] == {
        "score": scores["tasks"]["circular"]["score"],
        "groups": 2,
        "questions": 8,
    }
    answers = pd.read_parquet(tmp_path / "answers.parquet")
    assert len(answers) == 7 * 2 + 4 * 2 + 2 * 2 and {"prediction", "credit", "answer"} <= set(answers.columns)


def test_bad_input(atv_command):
    assert atv_command("evaluate", "--split", "train")[0] == 2
    assert "neither 'bundled' nor" in atv_command("evaluate", "--evaluation", "nowhere")[2]
    assert "Trainer" in atv_command("evaluate", "--trainer.device", "2")[2]
