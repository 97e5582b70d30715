import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from atv.reporting.run_again import run_again

ROOT = Path(__file__).parents[2]
FILE = ROOT / "ablations" / "visual_sparsity.py"


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    from atv.cli import main

    results = tmp_path_factory.mktemp("results")
    options = ["--file", FILE, "--sparsities", 0.5, "--samples", 8, "--groups", 3, "--logger", "none"]
    assert main(["ablate", *map(str, options), "--results", str(results)]) == 0
    return results, [*options, "--results", results]


def test_writes_table_and_figure(first_run):
    folder = first_run[0] / "visual_sparsity"
    table = pd.read_csv(folder / "table.csv")
    assert (
        len(table) == 3 * table["task"].nunique()
        and "average" in set(table["task"])
        and set(table["pathway"]) == {"none", "text", "visual"}
    )
    assert (table["low"] <= table["retention"] + 1e-9).all() and (table["retention"] <= table["high"] + 1e-9).all()
    assert table[table["pathway"] == "none"]["retention"].tolist() == pytest.approx([100] * table["task"].nunique())
    assert "average" in (folder / "table.md").read_text()
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert not (folder / "wandb").exists()


def test_cells_keep_their_answers_and_origin(first_run):
    cells = sorted((first_run[0] / "cells").iterdir())
    assert len(cells) == 7
    record = json.loads((cells[0] / "cell.json").read_text())
    assert {"id", "cell_schema", "config", "inputs", "versions", "git", "hardware", "seconds"} <= record.keys()
    answers = pd.read_parquet(cells[0] / "rows.parquet")
    assert len(answers) == 3 * 7 + 3 * 4 + 3 * 2


def test_a_finished_cell_is_not_run_again_and_a_missing_one_is(first_run, capsys):
    from atv.cli import main

    results, options = first_run
    before = pd.read_csv(results / "visual_sparsity" / "table.csv")
    removed = sorted((results / "cells").iterdir())[4]
    shutil.rmtree(removed)
    assert main(["ablate", *map(str, options)]) == 0
    assert capsys.readouterr().out.count("from disk") == 6
    pd.testing.assert_frame_equal(pd.read_csv(results / "visual_sparsity" / "table.csv"), before)


def test_two_processes_share_the_cells(first_run, atv_command, tmp_path):
    results, (file, path, *options) = first_run
    out = atv_command.done("ablate", file, path, *options[:-2], "--results", tmp_path, "--processes", 2)
    # What this process ran, and then the whole from disk; the other one ran each second cell.
    assert out.count("from disk") == 7 and out.count("questions") == 4 + 7
    assert (tmp_path / "shard-2.log").read_text().count("questions") == 3
    tables = [pd.read_csv(folder / "visual_sparsity" / "table.csv") for folder in (results, tmp_path)]
    pd.testing.assert_frame_equal(*tables)


def test_a_plugin_is_there_for_cells_of_every_process(atv_command, tmp_path):
    (tmp_path / "rule.py").write_text("from atv import TextOnly\n\n\nclass MyText(TextOnly):\n    pass\n")
    (tmp_path / "pair.py").write_text(PAIR.replace('"TextOnly"', '"MyText"'))
    given = ["--file", tmp_path / "pair.py", "--samples", 4, "--groups", 1, "--logger", "none"]
    given += ["--results", tmp_path / "results"]
    assert "unknown TokenSelection 'MyText'" in atv_command.refused("ablate", *given)
    atv_command.done("ablate", *given, "--plugin", tmp_path / "rule.py", "--processes", 2)
    assert (tmp_path / "results" / "shard-2.log").read_text().count("questions") == 1
    run = json.loads((tmp_path / "results" / "pair" / "run.json").read_text())
    again = shlex.split(run_again(run, tmp_path / "results"))[1:]
    assert atv_command.done(*again, "--logger", "none").count("from disk") == 2


def test_a_failing_cell_is_reported_and_the_others_go_on(atv_command, tmp_path):
    file = tmp_path / "broken.py"
    file.write_text(BROKEN)
    options = ["--samples", 4, "--groups", 1, "--results", tmp_path / "results"]
    code, out, err = atv_command("ablate", "--file", file, *options)
    assert code == 1 and "part bad, seed 0" in err and "ValueError: on purpose" in err
    assert "FAILED: ValueError: on purpose" in out and "2 cells finished, 0 left to other shards, 1 failed" in out
    assert not (tmp_path / "results" / "broken" / "table.md").exists()
    assert atv_command("ablate", "--file", file, *options)[1].count("from disk") == 2


def test_benchmarks_stand_in_for_the_suite(atv_command, data, tmp_path):
    (tmp_path / "pair.py").write_text(PAIR)
    asked = ["--benchmark", "POPE,MME", "--data", data, "--max_new_tokens", 2]
    options = ["--samples", 4, "--results", tmp_path / "results", "--logger", "none"]
    atv_command.done("ablate", "--file", tmp_path / "pair.py", *asked, *options)
    table = pd.read_csv(tmp_path / "results" / "pair" / "table.csv")
    assert set(table["task"]) <= {"POPE", "MME", "average"} and "average" in set(table["task"])
    made = json.loads((tmp_path / "results" / "pair" / "run.json").read_text())
    assert made["benchmarks"]["POPE"]["hub"] == "lmms-lab-encoder/POPE"
    assert "name one with --benchmark" in atv_command("ablate", "--file", FILE, "--data", data)[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", 1], "budget: expected hours above 0, together with decide; got 1.0 and decide False"),
        (["--decide", "true", "--budget", -1], "budget: expected hours above 0"),
        (["--decide", "true", "--benchmark", "POPE"], "decide: expected a suite of tasks"),
        (["--decide", "true", "--seeds", 3], "decide: uses 3, 4 and 5 seeds by itself"),
        (["--decide", "true", "--groups", 7], "at least 50 groups of questions of each task, got 7"),
    ],
)
def test_what_cannot_be_decided_is_refused_before_anything_is_loaded(atv_command, tmp_path, options, message):
    (tmp_path / "pair.py").write_text(PAIR)
    given = ["--file", tmp_path / "pair.py", "--results", tmp_path / "results", "--logger", "none"]
    assert message in atv_command.refused("ablate", *given, *options) and not (tmp_path / "results").exists()


@pytest.mark.slow
def test_two_processes_decide_within_a_budget_and_tell_what_was_asked(atv_command, tmp_path):
    """The first of two ablations costs more than there is, so that nothing is left for the other."""
    for name in ("pair", "other"):
        (tmp_path / f"{name}.py").write_text((PAIR + DECIDED).replace('"pair"', f'"{name}"'))
    files = f"[{tmp_path / 'pair.py'},{tmp_path / 'other.py'}]"
    given = ["--file", files, "--samples", 2, "--groups", 50, "--max_new_tokens", 1, "--decide", "true"]
    given += ["--budget", 1e-4, "--processes", 2, "--logger", "csv", "--results", tmp_path / "results"]
    out = atv_command.done("ablate", *given)
    assert "other: no look was taken, so no table was written: 0.0 hours have been spent" in out
    run = json.loads((tmp_path / "results" / "pair" / "run.json").read_text())
    assert run["decide"] and run["seeds"] == [0, 1, 2] and "--budget 0.0001" in run_again(run, tmp_path)
    (logged,) = (tmp_path / "results" / "pair" / "csv").glob("pool-dense*/hparams.yaml")
    assert yaml.safe_load(logged.read_text())["origin"]["seeds"] == [0, 1, 2]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def figure", "def picture", "file: Pair cannot be used: it does not define figure"),
        ('name = "pair"', "", "file: Pair cannot be used: it does not define name"),
        ('Cell({"pool": "dense"}), ', "", "file: Pair reports retention, but has no cell for the dense model"),
    ],
)
def test_an_ablation_that_cannot_be_shown_is_refused_before_a_cell_is_run(atv_command, tmp_path, old, new, message):
    (tmp_path / "pair.py").write_text(PAIR.replace(old, new))
    given = ["--file", tmp_path / "pair.py", "--results", tmp_path / "results", "--logger", "none"]
    assert message in atv_command.refused("ablate", *given) and not (tmp_path / "results").exists()


PAIR = """
from matplotlib.figure import Figure

from atv.ablation import Ablation, Cell
from atv.api import Pathway


class Pair(Ablation):
    name = "pair"
    question = "Does the text alone calibrate?"

    def cells(self, seed):
        return [Cell({"pool": "dense"}), Cell({"pool": "text"}, {"both": Pathway("TextOnly", 0.5)}, seed=seed)]

    def figure(self, table, results):
        return Figure()
"""


# Both go on where PAIR ends.
DECIDED = """
    def findings(self, results):
        from atv.ablation import Finding

        gap = results.difference({"pool": "dense"}, {"pool": "text"})
        return [Finding("Much is lost.", "", gap, "points", bound=-1000.0)]
"""
CLAIMING = """
    def cells(self, seed):
        pruned = {"text": "TextOnly", "visual": "VisualOnly"}
        cells = [Cell({"pool": pool}, {"both": Pathway(rule, 0.5)}, seed=seed) for pool, rule in pruned.items()]
        return [Cell({"pool": "dense"}), *cells]

    def claimed(self, cell):
        return cell.labels["pool"] == "text"
"""


BROKEN = """
from atv.ablation import Ablation, Cell
from atv.api import Pathway
from atv.selection import TextOnly


class Refusing(TextOnly):
    def select(self, tokens):
        raise ValueError("on purpose")


class Broken(Ablation):
    name = "broken"
    question = "Does one cell stop the others?"

    def cells(self, seed):
        rules = {"bad": Refusing(), "good": TextOnly()}
        cells = [Cell({"part": name}, {"both": Pathway(rule)}, seed=seed) for name, rule in rules.items()]
        return [Cell({"part": "dense"}), *cells]

    def figure(self, table, results):
        raise NotImplementedError
"""


def test_shards_in_any_order_give_the_same_table(atv_command, tmp_path):
    (tmp_path / "pair.py").write_text(PAIR)
    options = ["--file", tmp_path / "pair.py", "--samples", 4, "--groups", 1, "--logger", "none", "--results"]
    assert atv_command("ablate", *options, tmp_path / "whole")[0] == 0
    for shard, said in (("2/2", "1 left to other shards"), ("1/2", "table and figure")):
        assert said in atv_command.done("ablate", *options, tmp_path / "shared", "--shard", shard)
    tables = [pd.read_csv(tmp_path / folder / "pair" / "table.csv") for folder in ("whole", "shared")]
    pd.testing.assert_frame_equal(*tables)


def test_no_cell_need_be_run_that_no_finding_rests_on(atv_command, tmp_path):
    file = tmp_path / "pair.py"
    file.write_text(PAIR + CLAIMING)
    given = ["--file", file, "--samples", 4, "--groups", 1, "--logger", "none", "--results", tmp_path / "results"]
    atv_command.done("ablate", *given, "--seeds", 0, "--claimed_seeds", 2)
    run = json.loads((tmp_path / "results" / "pair" / "run.json").read_text())
    ran = [(cell["labels"]["pool"], cell["seed"]) for cell in run["cells"]]
    assert ran == [("dense", 0), ("text", 0), ("text", 1)] and (run["whole_seeds"], run["seeds"]) == (0, [0, 1])
    again = shlex.split(run_again(run, tmp_path / "results"))[1:]
    assert atv_command.done(*again, "--logger", "none").count("from disk") == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard", "3/2"], "shard: expected i/n"),
        (["--trainer.precision", "bf16-mixed"], "trainer.precision: expected 32-true, the model's own, got bf16-mixed"),
        (["--logger", "[csv,none]"], "logger: 'none' cannot be combined with others, got csv, none"),
        (["--seeds", -1], "seeds: expected 0 or more, got -1"),
        (["--claimed_seeds", 0], "claimed_seeds: expected 1 or more, got 0"),
        (["--columns", "[average,speling]"], "columns: unknown speling. Choices: unanswerable, reading"),
        (["--file", ROOT / "ablations" / "alhpa.py"], "Choices: "),
        (["--file", ROOT / "ablations" / "expert_modality.py"], "no cell of expert_modality fits this model: pattern"),
    ],
)
def test_bad_options_are_refused_before_any_cell(atv_command, tmp_path, options, message):
    code, out, err = atv_command("ablate", "--file", FILE, "--groups", 1, "--results", tmp_path, *options)
    assert code == 2 and message in err and "seed 0" not in out


def test_a_saved_data_set_and_model_folder_stand_in(atv_command, small_pool, tmp_path):
    from atv.bundled import BUNDLED_MODEL
    from atv.bundled.data import evaluation_set

    (tmp_path / "pair.py").write_text(PAIR)
    evaluation_set("dev", 1).save_to_disk(tmp_path / "questions")
    data = ["--calibration", small_pool, "--evaluation", tmp_path / "questions", "--model", BUNDLED_MODEL]
    atv_command.done(
        *("ablate", "--file", tmp_path / "pair.py", "--samples", 4, "--results", tmp_path / "results"),
        *("--logger", "none", *data),
    )
    run = json.loads((tmp_path / "results" / "pair" / "run.json").read_text())
    given = {"calibration": small_pool, "evaluation": tmp_path / "questions", "model": BUNDLED_MODEL}
    assert {name: run[name] for name in given} == {name: str(path) for name, path in given.items()}
    table = pd.read_csv(tmp_path / "results" / "pair" / "table.csv")
    assert set(table.loc[table["task"] == "average", "groups"]) == {9}  # one of each task of the saved set


def test_files_without_an_ablation_are_refused(atv_command, tmp_path):
    (tmp_path / "empty.py").write_text("")
    code, _, err = atv_command("ablate", "--file", tmp_path / "empty.py", "--results", tmp_path)
    assert code == 2 and "must define one Ablation, but defines 0" in err


def test_cells_of_another_schema_are_left_alone_and_named_but_none_of_another_split(first_run, capsys):
    from atv.cli import main

    results, options = first_run
    record = next(results.glob("cells/*/cell.json"))
    before = record.read_text()
    older = results / "cells" / "0123456789abcdef" / "cell.json"
    older.parent.mkdir()
    older.write_text(json.dumps(json.loads(before) | {"cell_schema": 1}))
    searched = results / "cells" / "fedcba9876543210" / "cell.json"
    searched.parent.mkdir()
    own = json.loads(before)
    own |= {"inputs": own["inputs"] | {"questions": "others"}, "asked_from": {"evaluation": "bundled", "split": "dev"}}
    searched.write_text(json.dumps(own))
    try:
        assert main(["ablate", *map(str, options)]) == 0
        said = capsys.readouterr().out
        assert "left alone: 1 cell (schema 1, not 2): 0123456789abcdef" in said and said.count("left alone") == 1
        assert older.is_file()
    finally:
        shutil.rmtree(older.parent)
        shutil.rmtree(searched.parent)


@pytest.mark.slow
def test_two_ranks_give_the_same_table(first_run, tmp_path):
    ranks = ["--trainer.accelerator", "cpu", "--trainer.devices", 2, "--results", tmp_path]
    command = [sys.executable, "-m", "atv.cli", "ablate", *map(str, first_run[1][:-2] + ranks)]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=600)
    tables = [pd.read_csv(folder / "visual_sparsity" / "table.csv") for folder in (first_run[0], tmp_path)]
    pd.testing.assert_frame_equal(*tables)
