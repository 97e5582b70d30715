import io

import pytest
import torch
from datasets import Dataset, Features, Image, Value
from datasets import List as ListOf
from PIL import Image as Pictures

from atv.bundled.data import calibration_pool
from atv.bundled.vocabulary import build_processor
from atv.data.conversations import calibration_batches, encode
from atv.evaluation.questions import question_batches


@pytest.fixture(scope="module")
def processor():
    return build_processor()


def dataset(images):
    features = Features({"image": Image(), "conversation": ListOf({"role": Value("string"), "text": Value("string")})})
    turns = [{"role": "user", "text": "what is there ?"}, {"role": "assistant", "text": "a star"}]
    return Dataset.from_dict({"image": images, "conversation": [turns] * len(images)}, features=features)


def png(color="red"):
    buffer = io.BytesIO()
    Pictures.new("RGB", (54, 54), color).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_chat_template_puts_the_picture_first(processor):
    row = calibration_pool(1)[0]
    batch = encode(processor, [row["conversation"]], [row["image"]])
    text = processor.tokenizer.decode(batch["input_ids"][0])
    assert text.startswith("<user>") and text.replace(" ", "").count("<image>") == 81
    assert (batch["input_ids"] == processor.tokenizer.unk_token_id).sum() == 0
    assert batch["pixel_values"].shape == (1, 3, 54, 54)


def test_the_seed_draws_the_samples(processor):
    pool = calibration_pool(40)
    drawn = [calibration_batches(processor, pool, 10, seed, batch_size=4) for seed in (0, 0, 1)]
    assert [len(batch["input_ids"]) for batch in drawn[0]] == [4, 4, 2]
    assert all(torch.equal(a["pixel_values"], b["pixel_values"]) for a, b in zip(drawn[0], drawn[1], strict=True))
    assert not torch.equal(drawn[0][0]["pixel_values"], drawn[2][0]["pixel_values"])


def test_samples_without_a_picture_are_text(processor):
    batch = calibration_batches(processor, dataset([None, None]), 2)[0]
    assert "pixel_values" not in batch and len(batch["input_ids"]) == 2


def test_a_corrupt_or_missing_picture_is_named(processor, tmp_path):
    whole = png()
    (tmp_path / "gone.png").write_bytes(whole)
    for broken in ({"bytes": whole[:60], "path": None}, {"bytes": None, "path": str(tmp_path / "nowhere.png")}):
        with pytest.raises(ValueError, match="image: row 1 of the data set cannot be read"):
            calibration_batches(processor, dataset([{"bytes": whole, "path": None}, broken]), 2)


def test_missing_columns_are_named(processor):
    with pytest.raises(ValueError, match="missing columns conversation; there are image"):
        calibration_batches(processor, dataset([None]).remove_columns("conversation"), 1)
    with pytest.raises(ValueError, match="evaluation data: missing columns question_id"):
        question_batches(processor, dataset([None]))
