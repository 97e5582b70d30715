from helpers.fake_results import Flat, write

from atv.reporting.collection import Collection
from atv.reporting.setup import differing, setup, shared


class Other(Flat):
    """On another model."""

    name = "other"


def test_what_differs_names_its_sections_and_the_rest_is_shared(results, tmp_path):
    write(results, Other(), model="llava")
    sections = Collection.read(results, tmp_path).sections
    # Whether a checkout was changed is told as well, and may change while tests run.
    assert {name: own for name, own in differing(sections).items() if name != "Revision"} == {
        "Model": {"bundled": ["flat", "quiet"], "llava": ["other"]},
        "Groups a task": {"first 150": ["flat", "other"], "all": ["quiet"]},
        "Seeds": {"0": ["flat", "other"], "0, 1": ["quiet"]},
    }
    assert shared(sections)["Calibration samples"] == "128" and "torch 2" in shared(sections)["Versions"]
    assert not shared(sections).keys() & differing(sections).keys()


def test_a_changed_checkout_is_said_in_words():
    assert setup({"git": "bd2ac998b107+"}) == {"Revision": "bd2ac998b107, with changes that are not committed"}
