"""Turns a class name, a dotted path or an instance into a plug-in; no registry is kept."""

import difflib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

Plugin = TypeVar("Plugin")


def subclasses(base: type[Plugin]) -> Iterator[type[Plugin]]:
    """Every concrete class imported so far that derives from ``base``; a leading underscore hides a class."""
    for child in base.__subclasses__():
        # jsonargparse derives a class from each default of the command line.
        hidden = child.__name__.startswith(("_", "LazyInstance_"))
        if not inspect.isabstract(child) and not hidden:
            yield child
        yield from subclasses(child)


def resolve(value: Plugin | str, base: type[Plugin], field: str, **defaults: Any) -> Plugin:
    """An instance of ``base``: ``value`` itself, or one made of the class that it names.

    Raises:
        ValueError: for an unknown name (the message lists the choices) or arguments that do not fit.
        TypeError: for a value of another kind.
    """
    if isinstance(value, base):
        return value
    if not isinstance(value, str):
        raise TypeError(f"{field}: expected a {base.__name__}, a class name or a dotted path, got {value!r}")
    kind = find(value, base, field)
    try:
        inspect.signature(kind).bind(**defaults)
    except TypeError as error:
        raise ValueError(f"{field}: {value!r} cannot be named alone: {error}") from error
    return kind(**defaults)


def describe(plugin: Plugin, base: type[Plugin]) -> dict[str, Any]:
    """Class name and arguments of a plug-in, and of those of its kind that it was given."""
    arguments = {n: describe(value, base) if isinstance(value, base) else value for n, value in vars(plugin).items()}
    return {"class": type(plugin).__name__, **arguments}


def find(name: str, base: type[Plugin], field: str) -> type[Plugin]:
    """The subclass of ``base`` called ``name``, or at the dotted path ``name``."""
    found = [child for child in subclasses(base) if child.__name__ == name]
    if len(found) > 1:
        paths = ", ".join(f"{child.__module__}.{name}" for child in found)
        raise ValueError(f"{field}: {name!r} names several classes; give one's path: {paths}")
    if found:
        return found[0]
    module, _, attribute = name.rpartition(".")
    if module:
        try:
            named = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"{field}: cannot import {name!r}: {error}") from error
        if inspect.isclass(named) and issubclass(named, base):
            return named
        raise ValueError(f"{field}: {name!r} is not a {base.__name__}")
    known = sorted({child.__name__ for child in subclasses(base)})
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"{field}: unknown {base.__name__} {name!r}{hint} Choices: {', '.join(known)}")


def load_file(path: str | Path) -> None:
    """Imports a Python file from anywhere on disk, so that its classes can be named.

    Raises:
        ValueError: when there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"plugin: no such file {str(path)!r}")
    name = f"atv_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
