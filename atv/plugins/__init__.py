"""Plug-ins: how classes are found by name, instantiated and described; the rules themselves live in other packages."""

from atv.plugins.arguments import ContractError, Plugin, arguments, describe
from atv.plugins.code import code_identity, codes
from atv.plugins.finding import (
    UnknownNameError,
    derived,
    find,
    load_file,
    load_files,
    require_attributes,
    require_concrete,
    resolve,
    subclasses,
    usable,
)
from atv.plugins.ranges import above_zero, at_least

__all__ = [
    "ContractError",
    "Plugin",
    "UnknownNameError",
    "above_zero",
    "arguments",
    "at_least",
    "code_identity",
    "codes",
    "derived",
    "describe",
    "find",
    "load_file",
    "load_files",
    "require_attributes",
    "require_concrete",
    "resolve",
    "subclasses",
    "usable",
]
