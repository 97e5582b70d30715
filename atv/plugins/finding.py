"""Turns a class name, a dotted path or an instance into a plug-in; no registry is kept."""

import difflib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

Kind = TypeVar("Kind")


class UnknownNameError(ValueError):
    """No class has the given name; the message ends with the names that exist."""


def subclasses(base: type[Kind]) -> Iterator[type[Kind]]:
    """Yields every concrete class imported so far that derives from ``base``; a leading underscore hides a class."""
    return (kind for kind in derived(base) if not inspect.isabstract(kind))


def resolve(value: Kind | str, base: type[Kind], field: str, **defaults: Any) -> Kind:
    """Returns an instance of ``base``: ``value`` itself, or an instance of the class that it names.

    Raises:
        ValueError: for an unknown name (the message lists the choices), arguments that do not fit, or an instance that
            lacks an attribute of ``base``.
        TypeError: for a value of any other type.
    """
    made = value if isinstance(value, base) else _made(value, base, field, **defaults)
    require_attributes(made, base, field)
    return made


def _made(value: Kind | str, base: type[Kind], field: str, **defaults: Any) -> Kind:
    if not isinstance(value, str):
        raise TypeError(f"{field}: expected a {base.__name__}, a class name or a dotted path, got {value!r}")
    kind = find(value, base, field)
    try:
        inspect.signature(kind).bind(**defaults)
    except TypeError as error:
        raise ValueError(f"{field}: {value!r} cannot be given by name alone: {error}") from error
    return kind(**defaults)


def find(name: str, base: type[Kind], field: str) -> type[Kind]:
    """Returns the subclass of ``base`` called ``name``, or at the dotted path ``name``.

    Raises:
        ValueError: if no class or several classes have the name, or the class lacks a method of ``base``.
    """
    candidates = usable(called(name, base))
    if len(candidates) > 1:
        paths = ", ".join(f"{kind.__module__}.{name}" for kind in candidates)
        raise ValueError(f"{field}: {name!r} names several classes; give the path of one: {paths}")
    kind = candidates[0] if candidates else _imported(name, base, field)
    require_concrete(kind, field)
    return kind


def called(name: str, base: type[Kind]) -> list[type[Kind]]:
    """Returns the classes called ``name`` that derive from ``base``, as their modules hold them now.

    A notebook cell that is rerun, or a file that is loaded again, leaves its former classes behind.
    """
    named = [kind for kind in derived(base) if kind.__name__ == name]
    return [kind for kind in named if vars(sys.modules[kind.__module__]).get(name) is kind] or named


def usable(kinds: Sequence[type[Kind]]) -> Sequence[type[Kind]]:
    """Returns the classes that lack no method, or all if each lacks one, so that ``require_concrete`` names it."""
    return [kind for kind in kinds if not inspect.isabstract(kind)] or kinds


def require_concrete(kind: type[Any], field: str) -> None:
    """Checks that a class defines everything that its base requires.

    Raises:
        ValueError: naming what is missing.
    """
    if lacking := ", ".join(sorted(getattr(kind, "__abstractmethods__", ()))):
        raise ValueError(f"{field}: {kind.__name__} cannot be used: it does not define {lacking}")


def require_attributes(made: Any, base: type[Any], field: str) -> None:
    """Checks that an instance has all attributes that its base annotates without a value.

    Raises:
        ValueError: naming what is missing.
    """
    asked = [name for name in inspect.get_annotations(base) if not hasattr(base, name)]
    if lacking := ", ".join(name for name in asked if not hasattr(made, name)):
        raise ValueError(f"{field}: {type(made).__name__} cannot be used: it does not define {lacking}")


def derived(base: type[Kind]) -> Iterator[type[Kind]]:
    """Yields all classes that derive from ``base`` and are not hidden, each once, even those that lack a method."""
    # jsonargparse derives a class from each default of the command line.
    yield from (kind for kind in dict.fromkeys(_below(base)) if not kind.__name__.startswith(("_", "LazyInstance_")))


def _below(base: type[Kind]) -> Iterator[type[Kind]]:
    """Yields all classes below ``base``; a class that derives from several of these comes several times."""
    for child in base.__subclasses__():
        yield child
        yield from _below(child)


def _imported(path: str, base: type[Kind], field: str) -> type[Kind]:
    """Returns the class at a dotted path; raises a ValueError with the choices if there is none."""
    module, _, attribute = path.rpartition(".")
    if module:
        try:
            named = getattr(importlib.import_module(module), attribute)
        except Exception as error:  # A module may raise anything while it is imported.
            raise ValueError(f"{field}: cannot import {path!r}: {error}") from error
        if inspect.isclass(named) and issubclass(named, base):
            return named
        raise ValueError(f"{field}: {path!r} is not a {base.__name__}")
    known = sorted({kind.__name__ for kind in subclasses(base)})
    near = difflib.get_close_matches(path, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise UnknownNameError(f"{field}: unknown {base.__name__} {path!r}{hint} Choices: {', '.join(known)}")


def load_files(paths: Iterable[str | Path], field: str = "plugin") -> None:
    """Imports several Python files, each as ``load_file`` does.

    Raises:
        ValueError: as in ``load_file``, and for two files with the same name, whose classes could not be told apart.
    """
    places: dict[str, Path] = {}
    for path in map(Path, paths):
        other = places.setdefault(path.stem, path)
        if other.resolve() != path.resolve():
            raise ValueError(f"{field}: {str(other)!r} and {str(path)!r} have the same name; rename one of them")
        load_file(path, field)


def load_file(path: str | Path, field: str = "plugin") -> None:
    """Imports a Python file from anywhere on disk, so that its classes can be named and modules beside it imported.

    Raises:
        ValueError: if there is no such file, or it cannot be imported; the message names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{field}: no such file {str(path)!r}")
    if path.suffix != ".py":
        raise ValueError(f"{field}: {str(path)!r} is not a Python file (.py)")
    name = f"atv_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # Appended last, so that nothing beside the file shadows an installed module.
    if (beside := str(path.resolve().parent)) not in sys.path:
        sys.path.append(beside)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{field}: {str(path)!r} cannot be imported{_line(error, path)}: {error!r}") from error


def _line(error: BaseException, path: Path) -> str:
    """Returns the line of the file that an error is about, as it is shown in the message."""
    frames = traceback.extract_tb(error.__traceback__)
    raised = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    number = error.lineno if isinstance(error, SyntaxError) else raised[-1] if raised else None
    return f" (line {number})" if number else ""
