"""Redraws the everyday artwork, ``things.csv`` and ``atlas.webp``, from five npm packages.

python -m atv.everyday.rendering --packages FOLDER
"""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jsonargparse import auto_cli
from PIL import Image
from rich.console import Console
from rich.progress import track

from atv.everyday.rendering.families import EMOJIBASE, Family, plain, read_families
from atv.everyday.things import FAMILIES, SIZE, THINGS, THINGS_PER_ROW, Thing, corner
from atv.records.files import atomic, writable

COLUMNS = ("thing", "plural", "article", "kind", "emoji", "hexcode", "group", "subgroup", "families")


def looked_up(things: Sequence[Thing], folder: Path) -> list[Thing]:
    """Returns ``things`` with the code points, group and subgroup that emojibase lists under the emoji's English name.

    Raises:
        ValueError: if emojibase's archive is missing or has a different digest, or has no emoji of that name.
    """
    files = EMOJIBASE.read(folder, "en/")
    emojis = {emoji["label"]: emoji for emoji in json.loads(files["en/data.json"])}
    messages = json.loads(files["en/messages.json"])
    groups, subgroups = (
        {entry["order"]: entry["key"] for entry in messages[level]} for level in ("groups", "subgroups")
    )
    if unknown := [thing.emoji for thing in things if thing.emoji not in emojis]:
        raise ValueError(f"things.csv: emoji: {EMOJIBASE.file} has no emoji named {unknown[0]!r}")
    return [
        replace(
            thing,
            hexcode=plain(emojis[thing.emoji]["hexcode"]),
            group=groups[emojis[thing.emoji]["group"]],
            subgroup=subgroups[emojis[thing.emoji]["subgroup"]],
        )
        for thing in things
    ]


def write_table(things: Sequence[Thing], file: Path) -> None:
    """Writes one row per thing, atomically."""
    with atomic(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(COLUMNS)
        for thing in things:
            leading_cells = (thing.name, thing.plural, thing.article, thing.kind, thing.emoji, thing.hexcode)
            writer.writerow((*leading_cells, thing.group, thing.subgroup, " ".join(thing.families)))


STEP = 8  # colours are rounded to multiples of it, which halves the file without a visible difference


def render(packages: Path, output: Path = Path("atv/everyday/artwork")) -> None:
    """Redraw the everyday artwork; the same packages give the same artwork.

    The table of the installed atv says which things there are, their names and kinds, and which families draw them.
    To add a thing, add a row with its emoji's English name and run this command.

    Args:
        packages: Folder with the five npm archives, as written by npm pack.
        output: Folder for things.csv and atlas.webp.
    """
    writable(output, "output")
    things = looked_up(THINGS, packages)
    atlas = draw_atlas(things, read_families(packages))
    with atomic(output / "atlas.webp") as file:
        atlas.save(file, "WEBP", lossless=True, exact=True, quality=60, method=3)
    write_table(things, output / "things.csv")
    print(f"{len(things)} things written to {output}")


def draw_atlas(things: Sequence[Thing], families: Mapping[str, Family]) -> Image.Image:
    """Returns all drawings in one RGBA picture: ``THINGS_PER_ROW`` things per row, their families side by side.

    Raises:
        ValueError: if a family does not draw a thing that the table lists for it.
    """
    width = THINGS_PER_ROW * len(FAMILIES) * SIZE
    atlas = Image.new("RGBA", (width, -(-len(things) // THINGS_PER_ROW) * SIZE))
    for row, thing in enumerate(track(things, "drawing", console=Console(stderr=True))):
        for family in thing.families:
            try:
                drawing = families[family].draw(thing.hexcode, SIZE)
            except KeyError:
                raise ValueError(f"things.csv: families: {family} has no drawing of {thing.emoji!r}") from None
            atlas.paste(drawing, corner(row, family))
    return Image.fromarray(rounded(np.asarray(atlas)))


def rounded(pixels: np.ndarray) -> np.ndarray:
    """Rounds every channel of RGBA pixels (uint8) to the nearest multiple of ``STEP``, with 255 in place of 256.

    Pixels with alpha 0 lose their colour.
    """
    nearest = np.minimum((pixels.astype(np.int64) + STEP // 2) // STEP * STEP, 255)
    nearest[nearest[..., 3] == 0] = 0
    return nearest.astype(np.uint8)


def main() -> int:
    """Runs the command; an error prints one line on standard error and returns exit code 2."""
    try:
        auto_cli(render, as_positional=False)
    except ModuleNotFoundError as error:
        print(f"atv: error: {error}; run: pip install 'atv[everyday-recipe]'", file=sys.stderr)
    except (ValueError, OSError) as error:
        print(f"atv: error: {error}", file=sys.stderr)
    else:
        return 0
    return 2


if __name__ == "__main__":
    sys.exit(main())
