"""Results that must not move by accident; tests/golden/make.py renews them."""

import importlib.util
import json
from pathlib import Path

import pytest

import atv

FOLDER = Path(__file__).parent


@pytest.fixture(scope="module")
def make():
    spec = importlib.util.spec_from_file_location("golden_make", FOLDER / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_masks_of_integers_are_the_same_bit_for_bit(make):
    assert make.integer_masks() == json.loads((FOLDER / "integer_masks.json").read_text())


def test_masks_of_the_bundled_model_differ_in_a_thousandth_at_most(make):
    golden, masks = atv.load_masks(FOLDER / "bundled_masks.safetensors"), make.bundled_masks()
    assert masks.keys() == golden.keys()
    differing = sum(int((masks[name] != golden[name]).sum()) for name in golden)
    assert differing <= 0.001 * sum(mask.numel() for mask in golden.values())


def test_scores_of_the_bundled_model_move_by_three_questions_at_most(make):
    golden, scores = json.loads((FOLDER / "bundled_scores.json").read_text()), make.bundled_scores()
    assert scores.keys() == golden.keys()
    assert all(abs(scores[task] - golden[task]) <= 3 for task in golden)
