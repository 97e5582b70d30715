"""Runs that were killed, stopped, tampered with or changed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.tiny import random_llava
from resume.killed import BATCHES, MOMENTS

import atv
from atv.plugins import load_file
from atv.runtime.preemption import Preempted
from atv.runtime.trainer import quiet_trainer

KILLED = Path(__file__).with_name("killed.py")


@pytest.fixture(scope="module")
def whole():
    return atv.prune(random_llava(), BATCHES)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    places = os.pathsep.join([str(KILLED.parents[1]), str(KILLED.parents[2])])
    subprocess.run([sys.executable, str(KILLED), str(folder)], env=os.environ | {"PYTHONPATH": places}, check=True)
    return folder


def same(masks, expected):
    return masks.keys() == expected.keys() and all(torch.equal(masks[name], expected[name]) for name in expected)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_goes_on_to_the_same_masks(moment, killed, whole):
    model = random_llava()
    kept = len(list((killed / moment / "blocks").glob("*.json")))
    report = atv.prune(model, BATCHES, run_dir=killed / moment)
    assert (
        kept == {"in block 0": 0, "in block 2": 2, "before the manifest of block 1": 1, "before the outcome": 3}[moment]
    )
    assert same(report.masks, whole.masks) and same(atv.load_masks(killed / moment / "masks.safetensors"), whole.masks)
    assert [block.mean_drift for block in report.blocks] == [block.mean_drift for block in whole.blocks]
    for name, mask in whole.masks.items():
        assert not model.get_submodule(name).weight[~mask].any()


class Asked(atv.DriftTopK):
    """Is sent SIGTERM in block 1, once."""

    signals = [signal.SIGTERM]

    def select(self, tokens):
        if tokens.block == 1 and self.signals:
            os.kill(os.getpid(), self.signals.pop())
        return super().select(tokens)


def test_sigterm_ends_the_run_within_a_block(tmp_path, whole):
    with pytest.raises(Preempted, match="1 block finished; finished blocks are kept, and the same command resumes"):
        atv.prune(random_llava(), BATCHES, selection=Asked(), run_dir=tmp_path)
    assert len(list((tmp_path / "blocks").glob("*.json"))) == 1
    assert same(atv.prune(random_llava(), BATCHES, selection=Asked(), run_dir=tmp_path).masks, whole.masks)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_loop_that_reports_failures_and_goes_on_is_ended_too(monkeypatch):
    monkeypatch.setattr(Asked, "signals", [signal.SIGTERM])
    begun = []
    with pytest.raises(Preempted, match="with 1 block finished; nothing is kept without a run_dir"):
        for cell in range(3):
            try:
                begun.append(cell)
                atv.prune(random_llava(), BATCHES, selection=Asked())
            except Exception:
                continue
    assert begun == [0] and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_sigterm_while_the_dense_model_is_measured_says_that_nothing_is_kept(monkeypatch, tmp_path):
    measure = atv.OWL.measure

    def interrupted(self, *args):
        os.kill(os.getpid(), signal.SIGTERM)
        return measure(self, *args)

    monkeypatch.setattr(atv.OWL, "measure", interrupted)
    with pytest.raises(Preempted, match="stopped by SIGTERM; no progress was saved"):
        atv.prune(random_llava(), BATCHES, allocation="OWL", run_dir=tmp_path)


def test_one_shot_and_decoupled_runs_go_on_too(tmp_path, monkeypatch):
    def run(folder):
        model = random_llava()
        return atv.decouple(
            model, BATCHES, text=atv.Pathway("TextOnly"), visual=atv.Pathway(Asked()), propagate=False, run_dir=folder
        ), model

    monkeypatch.setattr(Asked, "signals", [])
    whole, expected = run(tmp_path / "whole")
    monkeypatch.setattr(Asked, "signals", [signal.SIGTERM])
    with pytest.raises(Preempted):
        run(tmp_path / "stopped")
    report, model = run(tmp_path / "stopped")
    for pathway in ("text", "visual"):
        assert same(report.pathways[pathway].masks, whole.pathways[pathway].masks)
    assert all(torch.equal(weight, expected.state_dict()[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sparsity": 0.6}, r"plans.both.sparsity is 0.5 there and 0.6 here"),
        ({"selection": "TextOnly"}, ".*plans.both.selection.class is 'DriftTopK' there and 'TextOnly' here"),
        ({"batches": BATCHES[:2]}, "calibration data is '.*' there and '.*' here"),
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"trainer": quiet_trainer(precision="bf16-mixed")}, "precision is None there and 'bf16-mixed' here"),
    ],
)
def test_another_run_is_not_let_in(change, message, tmp_path):
    atv.prune(random_llava(), BATCHES, run_dir=tmp_path)
    with pytest.raises(ValueError, match=f"run_dir: .* holds another run: {message}"):
        atv.prune(random_llava(), change.pop("batches", BATCHES), run_dir=tmp_path, **change)


def test_a_rule_of_other_code_is_another_run(tmp_path):
    def pruned_by(body):
        head = "import atv\n\n\nclass Edited(atv.TokenSelection):\n    def select(self, tokens):\n        return "
        (tmp_path / "edited_rule.py").write_text(f"{head}{body}\n")
        load_file(tmp_path / "edited_rule.py")
        return atv.prune(random_llava(), BATCHES, selection="Edited", run_dir=tmp_path / "run")

    pruned_by("tokens.text")
    assert same(pruned_by("tokens.text  # all of it").masks, pruned_by("tokens.text").masks)
    with pytest.raises(ValueError, match=r"holds another run: code.Edited is '\w+' there and '\w+' here"):
        pruned_by("tokens.visual")


def test_a_model_trained_further_is_another_run(tmp_path):
    atv.prune(random_llava(), BATCHES, run_dir=tmp_path)
    model = random_llava()
    model.get_submodule("model.language_model.layers.1.mlp.up_proj").weight.data += 1e-3
    with pytest.raises(ValueError, match="holds another run: model is"):
        atv.prune(model, BATCHES, run_dir=tmp_path)


def test_a_corrupt_block_is_named_and_the_blocks_before_it_are_used(tmp_path, whole):
    atv.prune(random_llava(), BATCHES, run_dir=tmp_path)
    file = tmp_path / "blocks" / "001.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.warns(UserWarning, match=r"001.safetensors is corrupt .its checksum does not match its manifest"):
        report = atv.prune(random_llava(), BATCHES, run_dir=tmp_path)
    assert same(report.masks, whole.masks)
