"""The processors that people have, from pictures to a pruned folder to answers."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conformance.table import build
from helpers.benchmark_data import pope, read_lines
from helpers.layouts import QUESTION
from helpers.real_processors import PROCESSORS
from helpers.torchvision_operators import importable
from PIL import Image

from atv.cli import main
from atv.data.conversations import encode
from atv.model.loading import load_model
from atv.model.lvlm import LVLM

pytestmark = pytest.mark.skipif(not importable(), reason="processors of clips need torchvision")

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
    # Qwen-VL's processors refuse pictures that are 200 times as long as wide, the others take them.
    narrow = Image.new("RGB", (600, 1))
    narrow.save(pictures / "12.png")
    call = ["prune", "--model", folder, "--output", tmp_path / "pruned", "--calibration", pictures, "--samples", 20]
    assert main([str(part) for part in (*call, "--batch_size", 3)]) == 0, capsys.readouterr().err
    report = json.loads((tmp_path / "pruned" / "report.json").read_text())
    refused = [broken["id"] for broken in report["calibration"]["broken"]]
    assert refused == (["12.png"] if "qwen" in folder.name else [])
    assert len(report["calibration"]["ids"]) == 20 and all(block["tokens"]["visual"] > 0 for block in report["blocks"])

    rows = pope().to_pylist()
    narrow.save(stream := io.BytesIO(), "PNG")
    rows[2]["image"]["bytes"] = stream.getvalue()
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, pope().schema), tmp_path / "data" / "test-0.parquet")
    call = ["evaluate", "--model", tmp_path / "pruned", "--benchmark", "POPE", "--data", tmp_path / "data"]
    call += ["--output", tmp_path / "scores", "--batch_size", 4, "--max_new_tokens", 2]
    assert main([str(part) for part in call]) == 0, capsys.readouterr().err
    score = json.loads((tmp_path / "scores" / "scores.json").read_text())["benchmarks"]["POPE"]
    refused = [faulty["question_id"] for faulty in score["faulty"]]
    assert score["questions"] == 6 and refused == (["random/3"] if "qwen" in folder.name else [])
    assert all(f"question {name!r} cannot be asked" in capsys.readouterr().err for name in refused)
    answers = read_lines(tmp_path / "scores" / "POPE" / "answers.jsonl")
    assert len(answers) == 6 and all(row["credit"] == 0 for row in answers if row["question_id"] in refused)
