import hashlib
import io
import json
import os
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atv.everyday.rendering import __main__ as recipe
from atv.everyday.rendering.families import PACKAGES, Package, Pictures, Vectors, plain
from atv.everyday.things import FILE, SIZE, TABLE, THINGS, corner

PUBLISHED = Path(os.environ.get("EVERYDAY_PACKAGES", "checkpoints/everyday/packages"))
RED_SQUARE = '<path fill="#f00" d="M2 2h8v8H2z"/>'


def packed(folder, name, files):
    """An archive as npm packs it, and the package that it is."""
    package = Package(name, "1.0.0", "")
    archive = folder / package.file
    with tarfile.open(archive, "w:gz") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(f"package/{path}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return replace(package, digest=hashlib.sha256(archive.read_bytes()).hexdigest())


def webp(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", lossless=True)
    return file.getvalue()


def iconify(folder, aliases=()):
    icons = {"icons": {"red-square": {"body": RED_SQUARE}}, "aliases": dict(aliases), "width": 12, "height": 12}
    names = {"1f7e5": "red-square", "2b1b-fe0f": "other"}
    return packed(
        folder, "@drawn/squares", {"icons.json": json.dumps(icons).encode(), "chars.json": json.dumps(names).encode()}
    )


def test_an_archive_is_read_by_the_start_of_a_path(tmp_path):
    package = packed(tmp_path, "@a/b", {"en/data.json": b"[]", "de/data.json": b"{}", "README.md": b"text"})
    assert package.file == "a-b-1.0.0.tgz"
    assert package.read(tmp_path, "en/") == {"en/data.json": b"[]"}
    assert len(package.read(tmp_path, "")) == 3


def test_another_digest_is_refused_before_anything_is_read(tmp_path):
    package = packed(tmp_path, "@a/b", {"README.md": b"text"})
    (tmp_path / package.file).write_bytes(b"no archive at all")
    with pytest.raises(ValueError, match=rf"packages: .*a-b-1.0.0.tgz.* digest .*, expected {package.digest}"):
        package.read(tmp_path, "")


def test_a_vector_is_drawn_at_its_place(tmp_path):
    pytest.importorskip("resvg_py")
    pixels = np.asarray(Vectors(iconify(tmp_path), tmp_path).draw("1f7e5", 24))
    assert pixels.shape == (24, 24, 4)
    assert (pixels[8:16, 8:16] == (255, 0, 0, 255)).all()
    # What the reduction leaves beside an edge is fainter than the atlas keeps.
    assert pixels[:3, :, 3].max() < 8 and pixels[:, 21:, 3].max() < 8


def test_a_name_that_stands_for_another_is_that_drawing(tmp_path):
    drawn = Vectors(iconify(tmp_path, {"other": {"parent": "red-square"}}), tmp_path)
    assert drawn.svg(plain("2B1B-FE0F")) == drawn.svg("1f7e5")
    assert RED_SQUARE in drawn.svg("1f7e5")
    with pytest.raises(KeyError):
        drawn.svg("1f600")


def test_a_picture_is_reduced_without_a_dark_rim(tmp_path):
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:, :30] = (255, 255, 255, 255)
    package = packed(tmp_path, "@drawn/pictures", {"assets/2708-fe0f.webp": webp(pixels), "README.md": b"text"})
    drawn = np.asarray(Pictures(package, tmp_path).draw("2708", 16))
    assert drawn.shape == (16, 16, 4)
    rim = (drawn[..., 3] > 16) & (drawn[..., 3] < 240)
    assert rim.any() and drawn[rim][:, :3].min() >= 250


def test_colours_are_rounded_and_nothing_stays_behind_transparency():
    pixels = np.array([[[3, 4, 251, 255], [252, 128, 0, 4], [200, 100, 50, 3]]], np.uint8)
    assert recipe.rounded(pixels).tolist() == [[[0, 8, 248, 255], [255, 128, 0, 8], [0, 0, 0, 0]]]


class Plain:
    """Draws every emoji in one colour but knows no cats."""

    def __init__(self, colour):
        self.colour = colour

    def draw(self, hexcode, size):
        if hexcode == "1f408":
            raise KeyError(hexcode)
        return Image.new("RGBA", (size, size), self.colour)


COLOURS = {"noto": (248, 0, 0, 255), "flat": (0, 248, 0, 255), "three_d": (0, 0, 248, 255), "twemoji": (8, 8, 8, 255)}
PLAIN = {family: Plain(colour) for family, colour in COLOURS.items()}


def test_each_drawing_lies_where_the_atlas_looks_for_it():
    things = [replace(thing, families=("noto", "twemoji")) for thing in THINGS[:6]]
    atlas = np.asarray(recipe.draw_atlas(things, PLAIN))
    for row in range(6):
        for family, colour in COLOURS.items():
            left, top = corner(row, family)
            square = atlas[top : top + SIZE, left : left + SIZE]
            assert (square == (colour if family in things[row].families else 0)).all()


def test_a_drawing_that_is_missing_is_named():
    cat = next(thing for thing in THINGS if thing.name == "cat")
    with pytest.raises(ValueError, match=r"things\.csv: families: noto has no drawing of 'cat'"):
        recipe.draw_atlas([cat], PLAIN)


def test_the_table_is_looked_up_in_emojibase(tmp_path, monkeypatch):
    words = {
        "groups": [{"key": "animals-nature", "order": 3}],
        "subgroups": [{"key": "animal-mammal", "order": 5}],
    }
    emoji = {"label": "cat", "hexcode": "1F408-FE0F", "group": 3, "subgroup": 5}
    files = {"en/data.json": json.dumps([emoji]).encode(), "en/messages.json": json.dumps(words).encode()}
    monkeypatch.setattr(recipe, "EMOJIBASE", packed(tmp_path, "emojibase-data", files))
    cat = next(thing for thing in THINGS if thing.name == "cat")
    assert recipe.looked_up([replace(cat, hexcode="", group="", subgroup="")], tmp_path) == [cat]
    with pytest.raises(ValueError, match=r"things\.csv: emoji: .* has no emoji named 'catt'"):
        recipe.looked_up([replace(cat, emoji="catt")], tmp_path)


def test_the_table_is_written_as_it_was_read(tmp_path):
    recipe.write_table(THINGS, tmp_path / "things.csv")
    assert (tmp_path / "things.csv").read_bytes() == TABLE.read_bytes()


def test_a_missing_archive_is_one_line_with_the_command_that_fetches_all(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["rendering", "--packages", str(tmp_path), "--output", str(tmp_path / "out")])
    assert recipe.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "npm pack" in line
    assert all(f"{package.name}@{package.version}" in line for package in PACKAGES)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"no npm archives in {PUBLISHED}; EVERYDAY_PACKAGES names a folder")
def test_the_published_packages_give_the_artwork_that_ships(tmp_path):
    pytest.importorskip("resvg_py")
    recipe.render(PUBLISHED, tmp_path)
    assert (tmp_path / "things.csv").read_bytes() == TABLE.read_bytes()
    with Image.open(tmp_path / "atlas.webp") as drawn, Image.open(FILE) as shipped:
        assert np.array_equal(np.asarray(drawn.convert("RGBA")), np.asarray(shipped.convert("RGBA")))


def test_every_package_is_known_by_a_whole_digest():
    assert len({package.digest for package in PACKAGES}) == len(PACKAGES) == 5
    assert all(len(bytes.fromhex(package.digest)) == 32 for package in PACKAGES)
