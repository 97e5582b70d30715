"""What a comparison leaves: numbers as JSON, a figure, and a page with the flipped questions and their pictures."""

import base64
import io
import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from helpers.answered import benchmark_folder, mostly, suite, suite_folder
from helpers.benchmark_data import write_benchmarks
from PIL import Image

import atv
from atv.comparison import outcome
from atv.comparison.answers_figure import answers_figure
from atv.comparison.flipped_questions import flipped_questions
from atv.comparison.known_questions import KnownQuestions
from atv.comparison.outcome import differences_figure
from atv.evaluation.question_sets import Suite

VOID = {"meta", "img", "link", "br"}


class Checked(HTMLParser):
    """Every tag is closed by its own; pictures and texts are kept."""

    def __init__(self, text):
        super().__init__()
        self.open, self.pictures, self.alts, self.text = [], [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "img":
            self.pictures.append(given["src"])
            self.alts.append(given["alt"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def opened(address):
    head, content = address.split(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return Image.open(io.BytesIO(base64.b64decode(content)))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two folders on a saved suite: the second is wrong, at times in markup."""
    place = tmp_path_factory.mktemp("place")
    questions = suite(2)
    questions.save_to_disk(place / "questions")
    suite_folder(place / "dense", mostly(3), questions, place / "questions")

    def says(question, number):
        return "<script>alert(1)</script> & more" if number % 2 else mostly()(question, number)

    suite_folder(place / "sparse", says, questions, place / "questions")
    return place


@pytest.fixture(scope="module")
def found(place):
    return atv.compare(place / "dense", place / "sparse", output=place / "out")


@pytest.fixture(scope="module")
def known(found):
    """Where the pictures are."""
    return KnownQuestions(Suite(suite(2), "bundled", "dev", 2), found.models[0])


@pytest.fixture(scope="module")
def page(found, place):
    return (place / "out" / "comparison.html").read_text()


def test_the_page_is_whole_and_shows_what_was_asked(place, found, page):
    checked = Checked(page)
    flipped = int(found.rows[0].flips.lost + found.rows[0].flips.gained)
    assert f"{flipped} of {flipped} questions" in checked.text and len(checked.pictures) == flipped + 1
    assert all(checked.alts) and "://" not in page
    sizes = {opened(picture).size for picture in checked.pictures[1:]}
    assert sizes == {suite(2)[0]["image"].size}
    before, after = (pd.read_parquet(place / name / "answers.parquet") for name in ("dense", "sparse"))
    changed = (before["credit"] == 1) & (after["credit"] == 0)
    lost = after.loc[changed & after["prediction"].str.startswith("<script>"), "question"]
    assert len(lost) > 5 and all(text in checked.text for text in lost)


def test_answers_are_text_and_never_markup(page):
    assert "<script" not in page and "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page


def test_so_many_questions_are_shown_as_were_asked_for(found, known):
    few, none = (outcome.page(found, flipped_questions(found, known, flips), b"") for flips in (3, 0))
    assert few.count("<article>") == 3 and few.count("<details") == 3
    assert "<article>" not in none


def test_the_numbers_are_in_json_too(place, found):
    told = json.loads((place / "out" / "comparison.json").read_text())
    assert [model["name"] for model in told["models"]] == [str(place / "dense"), str(place / "sparse")]
    assert len(told["rows"]) == len(found.rows) and told["schema"] == 1 and told["resamples"] == 2000
    first, row = told["rows"][0], found.rows[0]
    assert (first["difference"], first["low"], first["p"]) == (row.effect.value, row.effect.low, row.effect.p)
    assert (first["task"], first["corrected"], first["agreement"]) == ("average", row.corrected, row.flips.agreement)
    assert Image.open(place / "out" / "differences.png").size[0] > 600


def test_a_figure_shows_pictures_with_what_each_model_said(place, found, known):
    assert Image.open(place / "out" / "answers.png").size[0] > 600
    figure = answers_figure(found, known)
    pictures, tables = figure.axes[::2], [axes.tables[0].get_celld() for axes in figure.axes[1::2]]
    shown = {np.asarray(picture.convert("RGB")).tobytes() for picture in suite(2)["image"]}
    assert len(pictures) == 3 and all(axes.images[0].get_array().tobytes() in shown for axes in pictures)
    first, second = (model.rows.set_index("question") for model in found.models)
    for cells in tables:
        for row in range(1, max(row for row, _ in cells) + 1):
            text = [cells[row, column].get_text().get_text() for column in range(4)]
            (question,) = [each for each in first.index if " ".join(each.split()) == " ".join(text[0].split())]
            # Answers are cut into lines, so that they fit.
            assert text[2].split() == first["prediction"][question].split(), question
            colours = [cells[row, column].get_facecolor() for column in (2, 3)]
            same = first["credit"][question] == second["credit"][question]
            assert (colours[0] == colours[1]) == same
    assert any("<script>" in cell.get_text().get_text() for cells in tables for cell in cells.values())


def test_models_that_say_the_same_leave_no_such_figure(place):
    (place / "alike").mkdir()
    (place / "alike" / "answers.png").write_bytes(b"of an earlier call")
    shutil.copytree(place / "dense", place / "twin")
    atv.compare(place / "dense", place / "twin", output=place / "alike")
    assert not (place / "alike" / "answers.png").exists()


def test_dollars_are_text_and_no_formula(place, found, known, tmp_path):
    dear = replace(found, models=[replace(model, name=r"in $\frac{$") for model in found.models])
    for figure in (answers_figure(dear, known), differences_figure(dear)):
        figure.savefig(tmp_path / "drawn.png")


def test_other_pictures_than_were_asked_are_not_shown(place, tmp_path):
    other = suite(2).map(lambda row: row | {"image": Image.new("RGB", (60, 60), "red")})
    other.save_to_disk(tmp_path / "other")
    given = {"evaluation": str(tmp_path / "other"), "output": tmp_path / "out"}
    atv.compare(place / "dense", place / "sparse", **given)
    text = (tmp_path / "out" / "comparison.html").read_text()
    assert text.count("<img") == 1 and "the given data show a different picture or text" in text


def test_pictures_of_benchmarks_are_found_where_they_were_asked(tmp_path):
    data = write_benchmarks(tmp_path / "data")
    one = benchmark_folder(tmp_path / "one", mostly(), data, "MMMU", "POPE")
    two = benchmark_folder(tmp_path / "two", mostly(*range(6)), data, "MMMU", "POPE")
    atv.compare(one, two, output=tmp_path / "out")
    checked = Checked((tmp_path / "out" / "comparison.html").read_text())
    # The first question of MMMU shows two pictures, the second one; POPE's six one each.
    assert len(checked.pictures) == 1 + 3 + 6
    (tmp_path / "data").rename(tmp_path / "moved")
    atv.compare(one, two, output=tmp_path / "out")
    text = (tmp_path / "out" / "comparison.html").read_text()
    assert "the data are not available: name them with --benchmark and --data" in text and text.count("<img") == 1
    atv.compare(one, two, benchmark="POPE", data=str(tmp_path / "moved"), output=tmp_path / "out")
    assert len(Checked((tmp_path / "out" / "comparison.html").read_text()).pictures) == 7
