"""The table of a table.md, cell by cell."""

import re
from dataclasses import dataclass

_INTERVAL = re.compile(r"(\S+) (\[.*)")


@dataclass(frozen=True)
class Entry:
    """A cell: what counts, and in small print behind it its interval or count."""

    text: str
    small: str = ""

    @classmethod
    def parse(cls, cell: str) -> "Entry":
        """From "93.8 [92.2, 95.3] (80.1)", from a heading "reading<br>(150 groups)", or from anything else.

        >>> Entry.parse("93.8 [92.2, 95.3] (80.1)")
        Entry(text='93.8', small='[92.2, 95.3] (80.1)')
        """
        head, _, below = cell.partition("<br>")
        found = _INTERVAL.fullmatch(head)
        return cls(*found.groups()) if found and not below else cls(head, below)

    @property
    def plain(self) -> str:
        """In one line."""
        return f"{self.text} {self.small}".rstrip()


@dataclass(frozen=True)
class Table:
    """Headings and rows as table.md shows them."""

    heads: list[Entry]
    rows: list[list[Entry]]

    @classmethod
    def parse(cls, markdown: str) -> "Table":
        """The first table of a text.

        Raises:
            ValueError: when there is none.
        """
        lines = [line for line in markdown.splitlines() if line.startswith("|")]
        if len(lines) < 2:
            raise ValueError("table.md holds no table")
        head, _, *rows = ([Entry.parse(cell.strip()) for cell in line.strip("|").split("|")] for line in lines)
        return cls(head, rows)
