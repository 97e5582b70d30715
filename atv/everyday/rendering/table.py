"""The table of things: what Unicode says about each is looked up again, what a person chose is kept."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from atv.everyday.rendering.families import EMOJIBASE, plain
from atv.everyday.things import Thing
from atv.records.files import atomic

COLUMNS = ("thing", "plural", "article", "kind", "emoji", "hexcode", "group", "subgroup", "families")


def looked_up(things: Sequence[Thing], folder: Path) -> list[Thing]:
    """``things`` with code points, group and subgroup as emojibase has them under the emoji's English name.

    Raises:
        ValueError: if emojibase's archive is missing or another one, or knows no emoji of that name.
    """
    files = EMOJIBASE.read(folder, "en/")
    emojis = {emoji["label"]: emoji for emoji in json.loads(files["en/data.json"])}
    words = json.loads(files["en/messages.json"])
    groups, subgroups = ({each["order"]: each["key"] for each in words[level]} for level in ("groups", "subgroups"))
    if unknown := [thing.emoji for thing in things if thing.emoji not in emojis]:
        raise ValueError(f"things.csv: emoji: {EMOJIBASE.file} knows no {unknown[0]!r}")
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
    """One row a thing, whole or not at all."""
    with atomic(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as rows:
        writer = csv.writer(rows, lineterminator="\n")
        writer.writerow(COLUMNS)
        for thing in things:
            told = (thing.name, thing.plural, thing.article, thing.kind, thing.emoji, thing.hexcode)
            writer.writerow((*told, thing.group, thing.subgroup, " ".join(thing.families)))
