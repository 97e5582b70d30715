from collections import Counter

import numpy as np
import pytest
from helpers.layouts import ANSWER, QUESTION, Listed, jpg, turns
from lightning.pytorch.utilities import rank_zero_only

from atv.bundled.architecture import build_processor
from atv.data import Bundled, BundledScenes, Conversation, EverydayProse, EverydayScenes, Mixture, PlainText, TextAlone
from atv.data.calibration_batches import calibration_batches
from atv.data.sources import load_calibration
from atv.everyday.plain_english import texts


def listed(name, count, broken=()):
    return Listed(
        [
            Conversation(f"{name}{number}", turns(), [jpg(number)[: 60 if number in broken else None]])
            for number in range(count)
        ]
    )


def drawn(mixture, samples, seed=0):
    return [conversation for conversation, _ in zip(mixture.draw(seed), range(samples), strict=False)]


@pytest.mark.parametrize("weights", [(1, 1), (3, 1), (0.7, 0.3), (5, 3, 2), (1, 1, 1, 1), (0.01, 0.99)])
def test_each_source_gives_its_share_at_any_number_of_samples(weights):
    mixture = Mixture([listed(str(place), 200) for place in range(len(weights))], list(weights))
    parts = [conversation.part for conversation in drawn(mixture, 120)]
    shares = np.asarray(weights) / sum(weights)
    for samples in range(1, 121):
        given = np.bincount(parts[:samples], minlength=len(weights))
        assert (np.abs(given - samples * shares) <= 1 + 1e-6).all()


def test_a_mixture_with_a_constructor_of_its_own_says_what_it_mixes():
    class Halves(Mixture):
        def __init__(self, first, second):
            super().__init__([first, second], [1, 1])

    record = Halves(listed("a", 2), TextAlone(listed("b", 3))).record()
    assert (record["class"], record["weights"]) == ("Halves", [1, 1])
    assert [source["class"] for source in record["sources"]] == ["Listed", "TextAlone"]


def test_the_seed_alone_decides_what_is_drawn(monkeypatch):
    mixture = Mixture([listed("a", 60), listed("b", 60)], [2, 1])
    ids = [[conversation.id for conversation in drawn(mixture, 30, seed)] for seed in (0, 0, 1)]
    assert ids[0] == ids[1] != ids[2] and len(set(ids[0])) == 30
    monkeypatch.setattr(rank_zero_only, "rank", 3)
    assert [conversation.id for conversation in drawn(mixture, 30)] == ids[0]


def test_sources_of_one_kind_do_not_draw_the_same_rows():
    rows = [
        [int(c.id[1:]) for c in drawn(Mixture([listed("a", 99), listed("a", 99)]), 40) if c.part == p] for p in (0, 1)
    ]
    assert len(rows[0]) == len(rows[1]) == 20 and rows[0] != rows[1]


def test_the_record_names_sources_weights_and_counts():
    mixture = Mixture([listed("a", 40), BundledScenes("facts")], [3.0, 1.0])
    record = calibration_batches(build_processor(), mixture, 8, batch_size=3).record
    assert record["data"]["class"] == "Mixture" and record["data"]["weights"] == [3.0, 1.0]
    assert record["data"]["sources"][1] == {"class": "BundledScenes", "said": "facts", "tasks": None}
    assert record["counts"] == [6, 2] == [sum(id[0] == kind for id in record["ids"]) for kind in "as"]


def test_a_broken_sample_is_no_part_of_the_count():
    first = drawn(Mixture([listed("a", 40), listed("b", 40)]), 1)[0].id
    mixture = Mixture([listed("a", 40, broken=[int(first[1:])]), listed("b", 40)])
    record = calibration_batches(build_processor(), mixture, 20).record
    assert [each["id"] for each in record["broken"]] == [first] and sum(record["counts"]) == 20
    assert Counter(id[0] for id in record["ids"]) == dict(zip("ab", record["counts"], strict=True))


def test_a_source_that_is_too_small_is_named():
    with pytest.raises(ValueError, match=r"source 2 of the mixture .*Listed.* has fewer samples than its weight asks"):
        drawn(Mixture([listed("a", 40), listed("b", 3)]), 20)


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        (Mixture([]), "calibration.sources: expected at least one source"),
        (Mixture([Bundled(), Bundled()], [1.0]), "calibration.weights: expected one per source, got 1 weights for 2"),
        (Mixture([Bundled(), Bundled()], [1.0, 0.0]), "calibration.weights: expected numbers above 0, got 0.0"),
        (Mixture([BundledScenes("poems")]), "calibration.said: expected one of captions, questions, answers, facts"),
        (Mixture([EverydayScenes("answers", ["cooking"])]), "calibration.tasks: expected some of knowledge, "),
    ],
)
def test_what_makes_no_mixture_is_refused(mixture, message):
    with pytest.raises(ValueError, match=message):
        load_calibration(mixture)


def test_a_mixture_in_one_option(tmp_path):
    (tmp_path / "text.txt").write_text("word " * 30)
    found = load_calibration(f"3*bundled + 0.5 * BundledScenes:captions + TextAlone:PlainText:{tmp_path}/text.txt")
    assert found.weights == [3.0, 0.5, 1.0] and found.sources[1].said == "captions"
    assert isinstance(found.sources[2], TextAlone) and isinstance(found.sources[2].source, PlainText)
    assert [type(source).__name__ for source in found.origins()] == ["Bundled", "BundledScenes", "PlainText"]


def test_a_bad_weight_and_an_unknown_source_are_named():
    with pytest.raises(ValueError, match="does not begin with a weight such as"):
        load_calibration("1.2.3*bundled + bundled")
    with pytest.raises(ValueError, match="calibration: 'nowhere' is neither"):
        load_calibration("bundled + nowhere")
    with pytest.raises(ValueError, match="Bundled takes no argument, got 'x'"):
        load_calibration("Bundled:x")


class Counted(Bundled):
    def __init__(self, count: int) -> None:
        self.count = count


def test_an_argument_becomes_the_number_that_a_class_asks_for():
    assert load_calibration("Counted:30").count == 30
    with pytest.raises(ValueError, match="calibration: 'Counted:many': count: expected int, got 'many'"):
        load_calibration("bundled + Counted:many")


def test_text_alone_has_the_words_of_the_same_samples_and_no_picture():
    data, alone = (
        calibration_batches(build_processor(), each, 4) for each in (listed("a", 9), TextAlone(listed("a", 9)))
    )
    assert alone.record["ids"] == data.record["ids"] and "pixel_values" not in alone[0]
    words = build_processor().tokenizer.decode(alone[0]["input_ids"][0]).split()
    assert [word for word in words if not word.startswith("<")] == [*QUESTION.split(), *ANSWER.split()]


def test_paragraphs_of_a_text_file(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("A heading\n\n" + "one two\n" * 10 + "  \n" + "three " * 25, encoding="utf-8")
    data = PlainText(file)
    assert len(data) == 2 and data.read(0).turns[0]["text"] == " ".join(["one two"] * 10) and not data.read(0).pictures
    with pytest.raises(ValueError, match=r"calibration.file: .* has no paragraph of 99 words"):
        load_calibration(PlainText(file, words=99))


def test_prose_is_answered_and_is_not_what_plain_english_is_measured_by():
    data = EverydayProse()
    told = [data.read(index) for index in range(len(data))]
    assert len(told) == len({prose.turns[1]["text"] for prose in told}) == 256
    assert all([turn["role"] for turn in prose.turns] == ["user", "assistant"] and not prose.pictures for prose in told)
    assert all(120 <= len(prose.turns[1]["text"].split()) < 300 for prose in told)
    measured = " ".join(texts().values())
    assert not any(
        " ".join(prose.turns[1]["text"].split()[start : start + 8]) in measured
        for prose in told
        for start in range(0, 113, 8)
    )


@pytest.mark.parametrize("scenes", [BundledScenes, EverydayScenes])
def test_a_scene_is_the_same_whatever_is_said_of_it(scenes):
    told = {said: scenes(said).read(5) for said in ("captions", "questions", "answers")}
    pictures = {said: conversation.pictures[0].tobytes() for said, conversation in told.items()}
    assert len(set(pictures.values())) == 1
    assert told["answers"].turns[:1] == told["questions"].turns and len(told["answers"].turns) == 2
    assert told["captions"].turns[1]["text"] and not scenes("facts").read(5).pictures
    assert scenes("facts").read(5).turns != scenes("facts").read(6).turns
