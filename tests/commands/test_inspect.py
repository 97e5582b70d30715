import json

import pandas as pd
import pytest
from PIL import Image

from atv.bundled.data import calibration_pool

PICTURES = ("tokens.png", "norms.png", "overlap.png")


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (54, 54), "red").save(path)
    return path


@pytest.fixture
def pool(tmp_path):
    calibration_pool(3).save_to_disk(tmp_path / "pool")
    return tmp_path / "pool"


def test_a_calibration_sample_without_any_option(atv_command, tmp_path):
    out = tmp_path / "out"
    printed = atv_command.done("inspect", "--output", out, "--samples", 4)
    assert all(Image.open(out / name).size[0] > 500 for name in PICTURES)
    tokens = json.loads((out / "tokens.json").read_text())
    assert tokens["grid"] == {"rows": 9, "columns": 9, "first": 0} and len(tokens["positions"]) == 81
    for block in tokens["blocks"]:
        budget = round(min(1, block["mean_drift"]) * tokens["text_tokens"])
        best = sorted(range(81), key=lambda token: -block["drift"][token])[:budget]
        assert block["selected"] == sorted(best)
    norms = pd.read_csv(out / "norms.csv")
    assert len(norms) == 6 * 192 and (norms[["text", "visual"]] > 0).all(axis=None)
    iou = pd.read_csv(out / "overlap.csv")
    assert len(iou) == 42 and iou["iou"].between(1 / 3, 1).all()
    assert f"{iou['iou'].mean():.3f} (random 0.333)" in printed


def test_a_picture_of_ones_own_joins_the_calibration_set(atv_command, tmp_path, photo, pool):
    out = tmp_path / "out"
    options = ["--image", photo, "--question", "what colour is it ?", "--answer", "red"]
    options += ["--calibration", pool, "--samples", 2]
    atv_command.done("inspect", "--output", out, *options, "--selection", "RandomVisual", "--selection.share", 0.5)
    tokens = json.loads((out / "tokens.json").read_text())
    assert [turn["text"] for turn in tokens["conversation"]] == ["what colour is it ?", "red"]
    assert all(len(block["selected"]) == round(0.5 * tokens["text_tokens"]) for block in tokens["blocks"])
    made = json.loads((out / "inspect.json").read_text())
    assert made["samples"] == 2 and made["picture"] == "photo.png"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--image", "nowhere.png", "--question", "x"], "image: cannot read 'nowhere.png'"),
        (["--image", __file__, "--question", "x"], "image: cannot read"),
        (["--image", __file__], "question: none is given for"),
        (["--question", "x"], "image: --question and --answer are about a picture"),
        (["--image", "a.png", "--question", "x", "--sample", "1"], "give either a picture or a calibration sample"),
        (["--sample", "4", "--samples", "4"], "sample: expected 0 to 3 (the calibration samples drawn), got 4"),
        (["--sample", "-1"], "sample: expected 0 to 127"),
        (["--linear", "qproj"], "linear: 'qproj' matches no Linear of the decoder; its Linears end in down_proj"),
        (["--linear", "*_proj"], "choose one per block"),
        (["--sparsity", "1.5"], "sparsity: expected a number in [0, 1), got 1.5"),
        (["--trainer.fast_dev_run", "true"], "trainer.fast_dev_run: expected false, got True, which may leave"),
        (["--model", "nowhere"], "no model at 'nowhere'"),
    ],
)
def test_bad_input_is_one_line(atv_command, tmp_path, options, message):
    code, _, err = atv_command("inspect", "--output", tmp_path / "out", *options)
    last = err.splitlines()[-1]
    assert code == 2 and last.startswith("atv: error: ") and message in last
