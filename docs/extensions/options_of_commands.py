"""The directive ``atv-commands``: documents every ``atv`` command and its options from signatures and docstrings."""

from collections.abc import Callable, Iterator
from inspect import Parameter
from itertools import groupby
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from atv.cli import COMMANDS, SWITCHES
from atv.commands.options import Option, options_of, paragraphs


class Commands(SphinxDirective):
    """Directive for Markdown pages that writes one section per command, with one entry per option."""

    def run(self) -> list[nodes.Node]:
        """Returns the nodes that replace the directive."""
        text = "\n".join(line for command in COMMANDS for line in _section(command))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def _section(command: Callable[..., None]) -> Iterator[str]:
    yield f"## atv {command.__name__.replace('_', ' ')}\n"
    yield from (f"{paragraph}\n" for paragraph in paragraphs(command))
    for heading, options in groupby(options_of(command), key=lambda option: option.heading):
        yield f"**{heading}**\n"
        for option in options:
            yield f"{_head(option)}\n: {option.help}\n"


def _head(option: Option) -> str:
    if option.name == "folder":
        return "`FOLDER`"
    if option.name in SWITCHES:
        return f"`--{option.name.replace('_', '-')}`"
    if option.default is Parameter.empty:
        return f"`--{option.name}` (required)"
    return f"`--{option.name}`{_default(option.default)}"


def _default(value: Any) -> str:
    if value is None:
        return ""
    if hasattr(value, "lazy_get_init_data"):  # jsonargparse's placeholder for an instance
        value = value.lazy_get_init_data().class_path.rpartition(".")[2]
    return f" (default: `{value}`)"


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the directive; Sphinx calls this."""
    app.add_directive("atv-commands", Commands)
    return {"parallel_read_safe": True}
