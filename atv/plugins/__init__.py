"""Plug-ins: how a class is found by its name, made and described; the rules themselves have rooms of their own."""

from atv.plugins.finding import Plugin, describe, find, load_file, resolve, subclasses

__all__ = ["Plugin", "describe", "find", "load_file", "resolve", "subclasses"]
