import hashlib

import numpy as np
import pytest

from atv.bundled.architecture import build_processor, words
from atv.bundled.data import GROUPS_A_TASK, POOL_SIZE, calibration_pool, evaluation_set
from atv.bundled.drawing import handwriting
from atv.bundled.scenes import sample_scene
from atv.bundled.tasks import TASKS

# Renewed on purpose only: every figure in docs/ belongs to these very questions and pictures.
CHECKSUMS = {"dev": "0510aa2da9606d8f", "test": "c4fed4824400eef4", "calibration": "212df0c0a33998a3"}
# Of their beginnings: so many groups of a task, so many rows of the pool.
GROUPS, ROWS = 60, 300
BEGINNINGS = {"dev": "2320acc61a193907", "test": "33ca31085a4e06f3", "calibration": "9f0386356a2cce9a"}


def checksum(dataset):
    state = hashlib.blake2b(digest_size=8)
    for row in dataset:
        image = row.pop("image")
        state.update(np.asarray(image).tobytes())
        state.update(repr(sorted(row.items())).encode())
    return state.hexdigest()


@pytest.fixture(scope="module")
def sets():
    return beginnings(GROUPS, ROWS)


def beginnings(groups, rows):
    found = {split: evaluation_set(split, groups) for split in ("dev", "test")}
    return found | {"calibration": calibration_pool(rows)}


def test_the_beginnings_of_all_sets(sets):
    assert {name: checksum(dataset) for name, dataset in sets.items()} == BEGINNINGS


@pytest.mark.slow
def test_all_sets_whole():
    sets = beginnings(GROUPS_A_TASK, POOL_SIZE)
    assert {name: checksum(dataset) for name, dataset in sets.items()} == CHECKSUMS
    for split in ("dev", "test"):
        groups = sets[split].to_pandas().groupby("task")["group"].nunique()
        assert groups.to_dict() == {task.name: 400 for task in TASKS}
    assert len(sets["calibration"]) >= 2000
    test_answers_are_balanced(sets, most=0.58)


def test_splits_share_no_layout():
    rng = np.random.default_rng(0)
    for split in ("train", "dev", "test"):
        assert {sample_scene(rng, split).split for _ in range(100)} == {split}


def test_handwriting_is_split_by_image():
    seen = {
        split: {i.tobytes() for digit in handwriting(split).values() for i in digit}
        for split in ("train", "dev", "test")
    }
    assert sum(len(images) for images in seen.values()) == 1797
    assert not seen["train"] & seen["dev"] and not seen["train"] & seen["test"] and not seen["dev"] & seen["test"]


def test_answers_come_back_from_tokens_as_they_were(sets):
    tokenizer = build_processor().tokenizer
    answers = sorted(set(sets["test"]["answer"]))
    assert [tokenizer.decode(ids) for ids in tokenizer(answers).input_ids] == answers
    assert any(len(answer.split()) > 1 for answer in answers)


def test_every_word_is_in_the_vocabulary(sets):
    known = set(words())
    for split in ("dev", "test"):
        asked = {word for text in sets[split]["question"] for word in text.split()}
        answered = {word for answer in sets[split]["answer"] for word in answer.split()}
        assert asked | answered <= known
    assert {w for turns in sets["calibration"]["conversation"] for t in turns for w in t["text"].split()} <= known


def test_answers_are_balanced(sets, most=0.65):
    frame = sets["test"].to_pandas()
    presence = frame[frame.task == "presence"].answer
    assert 1 - most < (presence == "yes").mean() < most
    unanswerable = frame[frame.task == "unanswerable"].answer
    assert 1 - most < (unanswerable == "unanswerable").mean() < most
    assert (frame[frame.task == "paired"].groupby("group").answer.nunique() == 2).all()
    assert (frame[frame.task == "circular"].groupby("group").answer.nunique() == 4).all()
    letters = frame[frame.task == "diagrams"].answer.value_counts(normalize=True)
    assert letters[["A", "B", "C"]].min() > 0.2


def test_calibration_has_clearly_more_visual_than_text_tokens(sets):
    tokenizer = build_processor().tokenizer
    text = [
        sum(len(tokenizer(t["text"]).input_ids) + 2 for t in turns) for turns in sets["calibration"]["conversation"]
    ]
    assert 27 <= np.mean(text) <= 60


def test_smaller_sets_are_the_beginning_of_larger_ones():
    small, large = evaluation_set("dev", 3), evaluation_set("dev", 5)
    assert set(small["question_id"]) < set(large["question_id"])
    texts = dict(zip(large["question_id"], large["question"], strict=True))
    assert all(texts[i] == q for i, q in zip(small["question_id"], small["question"], strict=True))


def test_unknown_split():
    with pytest.raises(ValueError, match="split: expected 'dev' or 'test', got 'train'"):
        evaluation_set("train")
