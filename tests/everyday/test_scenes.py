"""Scenes: splits that share nothing, pictures that show what they hold."""

import numpy as np
import pytest

from atv.bundled.scenes import DIGITS
from atv.everyday.drawing import covered, draw, handwritten
from atv.everyday.scenes import WORDS, hashed_split, sample_scene
from atv.everyday.things import THINGS, Drawing, drawings


@pytest.mark.parametrize("split", ["train", "dev", "test", "unseen"])
def test_a_scene_belongs_to_its_split_and_shows_its_drawings(split):
    rng = np.random.default_rng(0)
    allowed = set(drawings("unseen" if split == "unseen" else "known"))
    for _ in range(30):
        scene = sample_scene(rng, split)
        assert hashed_split(scene.items) == ("test" if split == "unseen" else split)
        shown = {Drawing(item.thing, item.style) for item in scene.items if item.form == "thing"}
        assert shown <= allowed
        assert len({item.place for item in scene.items}) == len(scene.items)


def test_words_are_no_names_of_things_and_fit_their_signs():
    assert not set(WORDS) & {thing.name for thing in THINGS}
    assert len(set(WORDS)) == len(WORDS) > 70


def test_handwriting_is_split_by_image():
    images = {
        split: {i.tobytes() for digit in DIGITS for i in handwritten(split, digit)} for split in ("train", "test")
    }
    assert len(images["train"]) > 1000 and not images["train"] & images["test"]


def test_a_picture_is_drawn_alike_again_and_covered_where_things_stand():
    scene = sample_scene(np.random.default_rng(1), "train", 4, 6)
    pictures = [np.asarray(draw(scene, np.random.default_rng(7))) for _ in range(2)]
    assert pictures[0].shape == (168, 168, 3) and (pictures[0] == pictures[1]).all()
    owner = covered(scene, np.random.default_rng(7))
    for number, item in enumerate(scene.items):
        rows, columns = np.nonzero(owner == number)
        assert set(rows // 56) == {item.row} and set(columns // 56) == {item.column}


def test_items_differ_from_the_background_where_they_are():
    scene = sample_scene(np.random.default_rng(2), "train", 6, 6)
    empty = np.asarray(draw(type(scene)((), "train"), np.random.default_rng(7)), dtype=float)
    shown = np.asarray(draw(scene, np.random.default_rng(7)), dtype=float)
    differs = np.abs(shown - empty).max(-1) > 25
    owner = covered(scene, np.random.default_rng(7))
    for number in range(len(scene.items)):
        assert differs[owner == number].mean() > 0.5
