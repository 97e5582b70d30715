"""The claims of the shipped ablations, read without running a cell.

PYTHONPATH=tests python -m helpers.any_results   # writes tests/ablation/claims.json
"""

import json
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pandas as pd

from atv import plugins
from atv.ablation import SUITED, Ablation
from atv.ablation.claims import Claims
from atv.statistics.estimates import Estimate

ROOT = Path(__file__).parents[2]
CLAIMS = ROOT / "tests" / "ablation" / "claims.json"
SOME = Estimate(1.0, 0.5, 1.5)
# Stand-ins for what findings are computed from, if that is not retention.
MEASURED = {
    "drift_profile": {"_drifts": lambda results: np.ones((3, 6))},
    "mask_overlap": dict.fromkeys(("_between", "_within"), lambda results: [{"a": 0.7, "b": 0.8}] * 2),
    "expert_modality": {"_more_visual": lambda results, share: SOME},
    "recipes": {"_on_test": lambda results: results},
}


class AnyResults(Claims):
    """Results that are the same for every cell; remembers which cells were read."""

    reads = True

    def __init__(self):
        self.read = []
        columns = ("Wanda", "SparseGPT", "AMIA", "ATV", "told", "radius", "tokens", "decode")
        rows = pd.DataFrame({name: [1.0] * 8 for name in columns})
        rows = rows.assign(sample=[0, 0, 1, 1] * 2, modality=["text", "visual"] * 4, block=0)
        cell = SimpleNamespace(labels={"setting": "50%"}, seed=0)
        self.finished = [SimpleNamespace(rows=rows, cell=cell, record=SimpleNamespace(seconds={"prune": 2.0}))]

    def of(self, **labels):
        return self.finished

    def retention(self, **labels):
        self.read.append(labels)
        return {"average": Estimate(99.0, 98.5, 99.5)}

    def difference(self, one, other, task="average"):
        self.read += [one, other]
        return SOME

    def gaps_apart(self, wide, narrow):
        self.read += [*wide, *narrow]
        return SOME

    def english(self, one, other):
        return self.difference(one, other)

    def count(self, task="average", /, **labels):
        return "300 questions, 1 seed"

    def seeds(self, **labels):
        return "1 seed"

    def english_count(self, **labels):
        return "3 texts, 1 seed"


def stated(kind, levels):
    """Claim -> bound, margin and unit, for one ablation of one model."""
    with patch.dict(kind.findings.__globals__, MEASURED.get(kind.name, {})):
        found = kind(levels).findings(AnyResults())
    return {finding.claim: [finding.bound, finding.margin, finding.unit] for finding in found}


def all_stated(kinds):
    """The claims of every ablation, for each of the two models."""
    return {
        model: {name: claims for name, kind in kinds.items() if (claims := stated(kind, levels))}
        for model, levels in SUITED.items()
    }


def shipped():
    """The classes of all shipped ablations, by the names of their files."""
    found = {}
    for file in sorted((ROOT / "ablations").glob("*.py")):
        before = set(plugins.subclasses(Ablation))
        plugins.load_file(file)
        (found[file.stem],) = set(plugins.subclasses(Ablation)) - before
    return found


if __name__ == "__main__":
    CLAIMS.write_text(json.dumps(all_stated(shipped()), indent=1) + "\n")
