"""Plug-ins: how a class is found by its name, made and described; the rules themselves have rooms of their own."""

from atv.plugins.arguments import ContractError, Plugin, arguments, describe
from atv.plugins.finding import find, load_file, resolve, subclasses

__all__ = ["ContractError", "Plugin", "arguments", "describe", "find", "load_file", "resolve", "subclasses"]
