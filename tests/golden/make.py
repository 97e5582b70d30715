"""Renews the golden results, on purpose only: python tests/golden/make.py"""

import hashlib
import json
from pathlib import Path

import torch

import atv
from atv.bundled.data import evaluation_set
from atv.calibration.pool import Pool
from atv.calibration.samples import LinearInputs, Sample
from atv.data import Bundled
from atv.data.calibration_batches import calibration_batches
from atv.evaluation.generation import answer
from atv.evaluation.questions import question_batches
from atv.model.loading import load_model, model_folder
from atv.patterns import parse_pattern
from atv.selection import SetStatistics, Tokens

FOLDER = Path(__file__).parent
RULES = ("AllTokens", "TextOnly", "VisualOnly", "RandomVisual", "DriftTopK")
PATTERNS = ("unstructured", "2:4", "4:8")


def integer_masks():
    """Checksums of masks of integer-valued weights and inputs, by rule and pattern."""
    generator = torch.Generator().manual_seed(0)

    def integers(*shape):
        return torch.randint(-9, 10, shape, generator=generator).float()

    weight = integers(32, 64)
    samples = []
    for index in range(6):
        visual = torch.arange(30) % 3 != index % 3
        tokens = Tokens(visual, torch.arange(30), integers(30, 16), integers(30, 16), sample=index, block=1, seed=5)
        samples.append(Sample(tokens, {"site": LinearInputs(integers(30, 64))}, {"linear": "site"}))
    drift = torch.cat([s.tokens.drift[s.tokens.visual] for s in samples]).double().mean().item()
    text, visual = (sum(int(getattr(s.tokens, m).sum()) for s in samples) for m in ("text", "visual"))
    checksums = {}
    for rule in RULES:
        pool = Pool(getattr(atv, rule)())
        for sample in samples:
            pool.observe(sample)
        found = pool.finish(SetStatistics(drift, len(samples), text, visual))
        score = atv.Wanda().score(weight, found.statistics["linear"])
        for pattern in PATTERNS:
            mask = parse_pattern(pattern).mask(score, 0.5)
            checksums[f"{rule} {pattern}"] = hashlib.blake2b(mask.numpy().tobytes(), digest_size=8).hexdigest()
    return checksums


def bundled_masks():
    """ATV-Pruning of the bundled model at 50% on 16 samples."""
    model, processor = load_model(model_folder("bundled"))
    return atv.prune(model, calibration_batches(processor, Bundled(), samples=16)).masks


def bundled_scores():
    """Summed credit by task of the dense bundled model, on the first 30 groups of each dev task."""
    model, processor = load_model(model_folder("bundled"))
    answers = answer(model, processor, question_batches(processor, evaluation_set("dev", 30)), max_new_tokens=8)
    return answers.groupby("task")["credit"].sum().to_dict()


if __name__ == "__main__":
    (FOLDER / "integer_masks.json").write_text(json.dumps(integer_masks(), indent=2) + "\n")
    (FOLDER / "bundled_scores.json").write_text(json.dumps(bundled_scores(), indent=2) + "\n")
    atv.save_masks(FOLDER / "bundled_masks.safetensors", bundled_masks())
