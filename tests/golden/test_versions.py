"""Whoever changes what a rule gives raises its version, so that finished cells of before are not taken for its own.

Of each shipped class a model's pruned weights are kept as a few sums, which are renewed by
PYTHONPATH=tests python tests/golden/test_versions.py
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny import make_batch, random_llava

import atv
from atv.allocation import BlockInfluence
from atv.criteria import REAP
from atv.patterns import AttentionHeads, FFNChannels, WholeExperts
from atv.plugins.finding import subclasses
from atv.refinement import MeanToBias, Reconstruction, Refinement
from atv.runtime.trainer import quiet_trainer

FILE = Path(__file__).with_name("versions.json")
KINDS = (atv.TokenSelection, atv.Criterion, atv.Pattern, atv.Allocation, Refinement, Reconstruction)
# What a class wants beside its name.
BESIDE = {
    "WholeBlocks": {"allocation": BlockInfluence()},
    "ByKind": {"allocation": atv.ByKind({"*_attn.*": 0.3})},
    "TextFraction": {"selection": atv.TextFraction(0.5, atv.DriftTopK())},
    "NOfM": {"pattern": "2:4"},
}
# They want a model with experts, with biases, or one whose parts go whole; they have oracles of their own.
LEFT = {WholeExperts, REAP, MeanToBias, FFNChannels, AttentionHeads, BlockInfluence}
SUMS = 16


def shipped():
    every = {kind for base in KINDS for kind in subclasses(base) if kind.__module__.startswith("atv.")} - LEFT
    return sorted(every, key=lambda kind: kind.__name__)


def sums(kind):
    """Sums of all pruned weights with signs drawn at random, over the length of the weights."""
    model = random_llava()
    samples = [make_batch([5, 8], 1), make_batch([6], 2), make_batch([12, 4], 3)]
    # The second half of each sample stands for its answer.
    batches = [one | {"labels": one["input_ids"].where(place(one), -100)} for one in samples]
    options = {kind.option: kind.__name__} | BESIDE.get(kind.__name__, {})
    report = atv.prune(model, batches, trainer=quiet_trainer(enable_progress_bar=False), seed=1, **options)
    state = model.state_dict()
    weights = torch.cat([state[f"{name}.weight"].flatten() for name in sorted(report.masks)]).double()
    signs = torch.randint(0, 2, (SUMS, len(weights)), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    return (signs.double() @ weights / weights.norm()).tolist()


def place(batch):
    length = batch["input_ids"].shape[1]
    return (torch.arange(length) >= length // 2) & batch["attention_mask"].bool()


@pytest.mark.parametrize("kind", shipped(), ids=lambda kind: kind.__name__)
def test_other_numbers_have_another_version(kind):
    known = json.loads(FILE.read_text()).get(kind.__name__, {})
    assert known.get("version") == kind.version, "renew what is known (see above)"
    # A thousandth of other weights moves them by about 0.03.
    moved = np.sqrt(np.mean(np.square(np.subtract(sums(kind), known["sums"]))))
    assert moved < 0.1, f"{kind.__name__} gives other numbers: raise its version and renew tests/golden/versions.json"


if __name__ == "__main__":
    found = {kind.__name__: {"version": kind.version, "sums": [round(s, 4) for s in sums(kind)]} for kind in shipped()}
    FILE.write_text(json.dumps(found, indent=1) + "\n")
