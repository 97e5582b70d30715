"""The page as headless Chromium shows it; `make report-check` installs one."""

import pytest
from helpers.chromium import DARK, LIGHT, chromium, measured

from atv.reporting.collection import Collection
from atv.reporting.pages import page

pytestmark = pytest.mark.skipif(chromium() is None, reason="no chromium is installed: make report-check")
PHONE, DESK = 390, 1200


@pytest.fixture
def html(results, tmp_path):
    return page(Collection.read(results, tmp_path), tmp_path, "html")


@pytest.mark.parametrize(("width", "scheme"), [(PHONE, LIGHT), (PHONE, DARK), (DESK, DARK)])
def test_fits_the_screen_loads_its_figures_and_asks_nobody(html, tmp_path, width, scheme):
    seen = measured(html, tmp_path, width, scheme)
    assert seen["width"] == seen["scrollWidth"] == width
    assert seen["loaded"] == seen["images"] == 2
    assert seen["blocked"] == seen["fetched"] == []
    assert seen["wideBoxes"] >= 1  # the wide table scrolls inside its own box
    assert (seen["page"] == "rgb(20, 22, 26)") == (scheme == DARK)
    assert seen["worst"]["ratio"] >= 4.5, seen["worst"]


def test_the_check_sees_what_is_wrong(html, tmp_path):
    bad = (
        '<img src="https://example.org/x.png"><p style="width: 900px; color: #999; background: #fff">Pale and wide</p>'
    )
    seen = measured(html.replace("</main>", f"{bad}</main>"), tmp_path, PHONE)
    assert seen["scrollWidth"] > PHONE and seen["loaded"] < seen["images"]
    assert seen["blocked"] == ["https://example.org/x.png"]
    assert seen["worst"]["text"] == "Pale and wide" and seen["worst"]["ratio"] == pytest.approx(2.85, abs=0.01)
