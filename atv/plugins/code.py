"""Identifies a class as it was when it was used, because the rule behind a name may change.

A user's own class is identified by a digest of its code, an installed class by its version.
"""

import ast
import hashlib
import inspect
import sys
import sysconfig
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from atv.plugins.arguments import ContractError, Plugin, arguments
from atv.plugins.finding import called

INSTALLED = [Path(__file__).parents[1], *(Path(path) for path in dict.fromkeys(sysconfig.get_paths().values()))]
PLAIN = (bool, int, float, str, bytes, type(None))


def codes(parts: Iterable[Any]) -> dict[str, str]:
    """Returns, by class name, a digest for each class from the user's file or notebook, else the class's version.

    An installed class is left out while its version is the first. A digest covers the class and the user's own
    functions, classes, modules and plain values that it calls or reads by name. Comments and docstrings do not count.

    Args:
        parts: plug-ins or their names, classes of any kind, and lists of these; anything else is ignored.
    """
    kinds = {kind.__name__: kind for part in parts for kind in _kinds(part)}
    told = {name: _told(kind) for name, kind in sorted(kinds.items())}
    return {name: text for name, text in told.items() if text}


def code_identity(parts: Iterable[Any]) -> dict[str, dict[str, str]]:
    """Returns what identifies a run of these plug-ins besides their arguments: ``codes``, if there are any."""
    found = codes(parts)
    return {"code": found} if found else {}


def _kinds(part: Any) -> Iterator[type[Any]]:
    """Yields the classes of a plug-in and of those in its arguments, a class itself, or those that a name means."""
    if isinstance(part, type):
        yield part
    elif isinstance(part, Plugin):
        yield type(part)
        # If a plug-in's arguments cannot be read from its constructor, they are not searched.
        with suppress(ContractError):
            yield from _kinds(list(arguments(part).values()))
    elif isinstance(part, list | tuple):
        for each in part:
            yield from _kinds(each)
    elif isinstance(part, str):
        yield from called(part.rpartition(".")[2], Plugin)


def _is_own(module: str) -> bool:
    """Whether a module is a user's file or a notebook, rather than an installed module."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module == "__main__"
    return not any(Path(file).resolve().is_relative_to(folder) for folder in INSTALLED)


def _told(kind: type[Any]) -> str:
    """A class's digest or version; empty for version 1, so that cells older than versions keep their names."""
    if _is_own(kind.__module__):
        return _digest(kind)
    version = kind.version if issubclass(kind, Plugin) else 1
    return f"version {version}" if version != 1 else ""


def _digest(kind: type[Any]) -> str:
    found: dict[str, str] = {}
    _collect(kind, found)
    return hashlib.sha256("\n".join(f"{name} {text}" for name, text in sorted(found.items())).encode()).hexdigest()[:16]


def _collect(item: Any, found: dict[str, str]) -> None:
    """Adds the code of a class or function, and of everything that it names."""
    name = f"{item.__module__}.{item.__qualname__}"
    if name in found or not _is_own(item.__module__):
        return
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(item)))
    except (OSError, TypeError, SyntaxError):
        # In a notebook, or for text that was executed, the source is missing: the compiled code is used instead.
        found[name] = repr([_compiled(code) for code in _functions(item)])
        used = {word for code in _functions(item) for word in code.co_names}
    else:
        found[name] = ast.unparse(_without_docstrings(tree))
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        used |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    _collect_named(sys.modules[item.__module__], used, found)


def _collect_named(
    module: ModuleType, used: Iterable[str], found: dict[str, str], above: tuple[ModuleType, ...] = ()
) -> None:
    """Adds the names in ``used`` that a module has; modules import one another, so none is searched below itself."""
    for word in sorted(used):
        value = vars(module).get(word)
        if isinstance(value, type | FunctionType):
            _collect(value, found)
        elif isinstance(value, ModuleType):
            if value not in (module, *above) and _is_own(value.__name__):
                _collect_named(value, used, found, (module, *above))
        elif word in vars(module) and _is_plain(value):
            found[f"{module.__name__}.{word}"] = repr(value)


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, [*value, *value.values()]))
    return all(map(_is_plain, value)) if isinstance(value, list | tuple) else isinstance(value, PLAIN)


def _functions(item: Any) -> list[CodeType]:
    """Returns the code of a function, or of the functions that a class itself defines."""
    functions = [item] if isinstance(item, FunctionType) else vars(item).values()
    return [each.__code__ for each in functions if isinstance(each, FunctionType)]


def _compiled(code: CodeType) -> tuple[Any, ...]:
    constants = [_compiled(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    return code.co_code.hex(), constants, code.co_names


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree
