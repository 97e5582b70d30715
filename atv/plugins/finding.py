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
    return (cls for cls in derived(base) if not inspect.isabstract(cls))


def resolve(value: Kind | str, base: type[Kind], field: str, **defaults: Any) -> Kind:
    """Returns an instance of ``base``: ``value`` itself, or an instance of the class that it names.

    Raises:
        ValueError: for an unknown name (the message lists the choices), arguments that do not fit, or an instance that
            lacks an attribute of ``base``.
        TypeError: for a value of any other type.
    """
    plugin = value if isinstance(value, base) else _instantiated(value, base, field, **defaults)
    require_attributes(plugin, base, field)
    return plugin


def _instantiated(value: Kind | str, base: type[Kind], field: str, **defaults: Any) -> Kind:
    if not isinstance(value, str):
        raise TypeError(f"{field}: expected a {base.__name__}, a class name or a dotted path, got {value!r}")
    cls = find(value, base, field)
    try:
        inspect.signature(cls).bind(**defaults)
    except TypeError as error:
        raise ValueError(f"{field}: {value!r} cannot be given by name alone: {error}") from error
    return cls(**defaults)


def find(name: str, base: type[Kind], field: str) -> type[Kind]:
    """Returns the subclass of ``base`` called ``name``, or at the dotted path ``name``.

    Raises:
        ValueError: if no class or several classes have the name, or the class lacks a method of ``base``.
    """
    candidates = usable(called(name, base))
    if len(candidates) > 1:
        paths = ", ".join(f"{cls.__module__}.{name}" for cls in candidates)
        raise ValueError(f"{field}: {name!r} names several classes; give the path of one: {paths}")
    cls = candidates[0] if candidates else _imported(name, base, field)
    require_concrete(cls, field)
    return cls


def called(name: str, base: type[Kind]) -> list[type[Kind]]:
    """Returns the classes called ``name`` that derive from ``base``, as their modules hold them now.

    A notebook cell that is rerun, or a file that is loaded again, leaves its former classes behind.
    """
    candidates = [cls for cls in derived(base) if cls.__name__ == name]
    return [cls for cls in candidates if vars(sys.modules[cls.__module__]).get(name) is cls] or candidates


def usable(kinds: Sequence[type[Kind]]) -> Sequence[type[Kind]]:
    """Returns the classes that lack no method, or all if each lacks one, so that ``require_concrete`` names it."""
    return [cls for cls in kinds if not inspect.isabstract(cls)] or kinds


def require_concrete(kind: type[Any], field: str) -> None:
    """Checks that a class defines everything that its base requires.

    Raises:
        ValueError: naming what is missing.
    """
    if missing := ", ".join(sorted(getattr(kind, "__abstractmethods__", ()))):
        raise ValueError(f"{field}: {kind.__name__} cannot be used: it does not define {missing}")


def require_attributes(instance: Any, base: type[Any], field: str) -> None:
    """Checks that an instance has all attributes that its base annotates without a value.

    Raises:
        ValueError: naming what is missing.
    """
    required = [name for name in inspect.get_annotations(base) if not hasattr(base, name)]
    if missing := ", ".join(name for name in required if not hasattr(instance, name)):
        raise ValueError(f"{field}: {type(instance).__name__} cannot be used: it does not define {missing}")


def derived(base: type[Kind]) -> Iterator[type[Kind]]:
    """Yields all classes that derive from ``base`` and are not hidden, each once, even those that lack a method."""
    # jsonargparse derives a class from each default of the command line.
    yield from (cls for cls in dict.fromkeys(_descendants(base)) if not cls.__name__.startswith(("_", "LazyInstance_")))


def _descendants(base: type[Kind]) -> Iterator[type[Kind]]:
    """Yields all classes below ``base``; a class that derives from several of these comes several times."""
    for child in base.__subclasses__():
        yield child
        yield from _descendants(child)


def _imported(path: str, base: type[Kind], field: str) -> type[Kind]:
    """Returns the class at a dotted path; raises a ValueError with the choices if there is none."""
    module, _, attribute = path.rpartition(".")
    if module:
        try:
            imported = getattr(importlib.import_module(module), attribute)
        except Exception as error:  # A module may raise anything while it is imported.
            raise ValueError(f"{field}: cannot import {path!r}: {error}") from error
        if inspect.isclass(imported) and issubclass(imported, base):
            return imported
        raise ValueError(f"{field}: {path!r} is not a {base.__name__}")
    class_names = sorted({cls.__name__ for cls in subclasses(base)})
    close_names = difflib.get_close_matches(path, class_names, n=1, cutoff=0.5)
    hint = f"; did you mean {close_names[0]!r}?" if close_names else "."
    raise UnknownNameError(f"{field}: unknown {base.__name__} {path!r}{hint} Choices: {', '.join(class_names)}")


def load_files(paths: Iterable[str | Path], field: str = "plugin") -> None:
    """Imports several Python files, each as ``load_file`` does.

    Raises:
        ValueError: as in ``load_file``, and for two files with the same name, whose classes could not be told apart.
    """
    path_of_name: dict[str, Path] = {}
    for path in map(Path, paths):
        earlier_path = path_of_name.setdefault(path.stem, path)
        if earlier_path.resolve() != path.resolve():
            raise ValueError(f"{field}: {str(earlier_path)!r} and {str(path)!r} have the same name; rename one of them")
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
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{field}: {str(path)!r} cannot be imported{_line_hint(error, path)}: {error!r}") from error


def _line_hint(error: BaseException, path: Path) -> str:
    """Returns the line of the file that an error is about, as it is shown in the message."""
    frames = traceback.extract_tb(error.__traceback__)
    line_numbers = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    line_number = error.lineno if isinstance(error, SyntaxError) else line_numbers[-1] if line_numbers else None
    return f" (line {line_number})" if line_number else ""
