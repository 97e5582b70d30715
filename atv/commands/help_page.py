"""How ``--help`` looks: lists stay lists, and a type is told by its name."""

import re
from argparse import Action
from textwrap import fill

from jsonargparse import DefaultHelpFormatter


class HelpPage(DefaultHelpFormatter):
    """Wraps each line of a description by itself; one that is indented goes on further in."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = []
        for line in text.splitlines():
            own = line[: len(line) - len(line.lstrip())]
            start, further = indent + own, indent + (own and own + "  ")
            lines.append(fill(line.strip(), width, initial_indent=start, subsequent_indent=further))
        return "\n".join(lines)

    def _get_type_str(self, action: Action) -> str | None:
        told = super()._get_type_str(action)
        return told and re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", told)
