"""Runs on one, two and three processes; several ranks are real ones (gloo, one thread each)."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import lightning as L
import pandas as pd
import pytest
from helpers.benchmark_data import read_lines, write_benchmarks
from helpers.tiny import random_llava
from ranks import job

from atv.records.masks import load_masks
from atv.runtime.ranks import agree, failing_together

JOB = Path(job.__file__)


def prepare(folder):
    random_llava().save_pretrained(folder / "dense")
    write_benchmarks(folder / "data")


def start(ranks, folder, *arguments):
    prepare(folder)
    places = os.pathsep.join([str(JOB.parents[1]), str(JOB.parents[2])])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": places}
    command = [sys.executable, str(JOB), *map(str, (ranks, folder, *arguments))]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory):
    """What one rank leaves; it needs no process of its own."""
    folder = tmp_path_factory.mktemp("one")
    prepare(folder)
    job.main(1, folder)
    return folder


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def several(request, one_rank, tmp_path_factory):
    """What more ranks say and leave, the second of which fails when all is done."""
    folder = tmp_path_factory.mktemp("several")
    shutil.copytree(one_rank / "run", folder / "run")
    (folder / "run" / "blocks" / "001.json").unlink()
    # POPE was killed after its first batch, of which the second line is torn.
    shutil.copytree(one_rank / "POPE" / "predictions", folder / "POPE" / "predictions")
    shard = folder / "POPE" / "predictions" / "rank-000.jsonl"
    shard.write_bytes(b"".join(shard.read_bytes().splitlines(keepends=True)[:2])[:-3])
    return request.param, start(request.param, folder, 1, "fails-at-last"), folder


def test_masks_and_answers_do_not_depend_on_the_number_of_ranks(several, one_rank):
    ranks, done, folder = several
    assert f"MEMBER: {ranks}/{ranks}" in done.stderr and (folder / "scores.json").is_file(), done.stderr
    assert len(list(one_rank.glob("*.safetensors"))) == 14
    for file in one_rank.glob("*.safetensors"):
        expected, masks = load_masks(file), load_masks(folder / file.name)
        assert masks.keys() == expected.keys()
        differing = sum(int((masks[linear] != expected[linear]).sum()) for linear in expected)
        # Ranks add X^T X in another order.
        allowed = 1e-4 * sum(mask.numel() for mask in expected.values()) if file.stem in ("SparseGPT", "refined") else 0
        assert differing <= allowed, file.name
    answers = [pd.read_parquet(place / "answers.parquet") for place in (one_rank, folder)]
    pd.testing.assert_frame_equal(*answers)
    assert len(answers[0]) == 5
    _same_benchmarks(one_rank, folder)


def _same_benchmarks(expected, found):
    """Answers and what is reported of them; each question was asked once."""
    assert json.loads((found / "scores.json").read_text()) == json.loads((expected / "scores.json").read_text())
    for name in ("POPE", "MME"):
        assert (found / name / "answers.jsonl").read_text() == (expected / name / "answers.jsonl").read_text()
        lines = [line for file in (found / name / "predictions").glob("*.jsonl") for line in read_lines(file)]
        assert len(lines) == len({line["question_id"] for line in lines}) == 6


def test_a_rank_that_fails_ends_all_with_its_own_message(several):
    _, done, _ = several
    assert done.returncode != 0 and "rank 1 cannot go on" in done.stderr


@pytest.mark.slow
def test_so_does_the_first(tmp_path):
    done = start(2, tmp_path, 0, "fails")
    assert done.returncode != 0 and "rank 0 cannot go on" in done.stderr


@pytest.mark.slow
def test_sigterm_to_one_rank_ends_all_within_a_block(tmp_path):
    done = start(2, tmp_path, 1, "is-preempted")
    assert done.returncode != 0 and "stopped by SIGTERM with 1 block finished" in done.stderr
    assert len(list((tmp_path / "stopped" / "blocks").glob("*.json"))) == 1


def test_ranks_that_disagree_are_named(monkeypatch):
    monkeypatch.setattr("atv.runtime.ranks.gathered", lambda value: [value, "other"])
    with pytest.raises(RuntimeError, match="masks of block 3 differ between ranks"):
        agree("one", "masks of block 3")


def test_strategies_that_copy_the_model_are_refused():
    trainer = L.Trainer(accelerator="cpu", devices=2, strategy="ddp_spawn", logger=False)
    with pytest.raises(ValueError, match="choose strategy ddp"), failing_together(trainer):
        pass
