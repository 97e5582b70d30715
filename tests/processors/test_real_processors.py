"""The processors that people have, from pictures to a pruned folder to answers."""

import json

import pytest
import torch
from conformance.table import build
from helpers.benchmark_data import LAYOUTS, read_lines
from helpers.layouts import QUESTION
from helpers.torchvision_operators import importable
from PIL import Image

from atv.data.conversations import encode
from atv.model.loading import load_model
from atv.model.lvlm import LVLM

pytestmark = pytest.mark.skipif(not importable(), reason="processors of clips need torchvision")

from helpers.real_processors import PROCESSORS  # noqa: E402

from atv.cli import main  # noqa: E402

SIZES = [(20, 30), (40, 12), (16, 16), (9, 33), (64, 8)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(25):
        width, height = SIZES[number % len(SIZES)]
        Image.effect_noise((width, height), 80).convert("RGB").save(folder / f"{number:02d}.png")
        (folder / f"{number:02d}.txt").write_text("a red star")
    return folder


@pytest.fixture(scope="module", params=PROCESSORS)
def folder(request, tmp_path_factory):
    place = tmp_path_factory.mktemp(request.param)
    build(request.param).save_pretrained(place)
    PROCESSORS[request.param]().save_pretrained(place)
    return place


def test_visual_tokens_of_each_sample_are_those_of_its_picture(folder):
    model, processor = load_model(folder)
    lvlm = LVLM.of(model)
    turns = [[{"role": "user", "text": QUESTION}]] * 2
    shown = [Image.effect_noise(size, 80).convert("RGB") for size in SIZES[:2]]
    processor.tokenizer.padding_side = "left"
    both = encode(processor, turns, shown, prompt=True)
    alone = [encode(processor, turns[:1], [one], prompt=True) for one in shown]
    counts = [int(lvlm.visual(inputs).sum()) for inputs in alone]
    assert min(counts) > 0 and lvlm.visual(both).sum(1).tolist() == counts
    assert all((inputs["input_ids"] == processor.tokenizer.bos_token_id).sum() <= 1 for inputs in alone)
    with torch.no_grad():
        logits = [model(**inputs).logits[0, -1] for inputs in alone]
        together = model(**both).logits[:, -1]
    torch.testing.assert_close(together, torch.stack(logits), atol=1e-4, rtol=1e-4)


def test_from_pictures_to_a_pruned_folder_to_answers(folder, pictures, tmp_path, capsys):
    Image.new("RGB", (600, 1)).save(pictures / "12.png")
    pruned, data = tmp_path / "pruned", tmp_path / "data"
    call = ["prune", "--model", folder, "--output", pruned, "--calibration", pictures, "--samples", 20]
    assert main([str(part) for part in (*call, "--batch_size", 3)]) == 0, capsys.readouterr().err
    report = json.loads((pruned / "report.json").read_text())
    assert all(block["tokens"]["visual"] > 0 for block in report["blocks"])
    assert len(report["calibration"]["broken"]) <= 1
    file = data / "data" / "test-00000-of-00001.parquet"
    file.parent.mkdir(parents=True)
    import pyarrow.parquet as pq

    pq.write_table(LAYOUTS["POPE/data/test-00000-of-00001.parquet"](), file)
    call = ["evaluate", "--model", pruned, "--benchmark", "POPE", "--data", data, "--output", tmp_path / "scores"]
    assert main([str(part) for part in (*call, "--batch_size", 4, "--max_new_tokens", 2)]) == 0, capsys.readouterr().err
    assert len(read_lines(tmp_path / "scores" / "POPE" / "answers.jsonl")) == 6
