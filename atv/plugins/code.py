"""What a class was when it was used, for under one name a rule may be another one by tomorrow: a digest of its code, or
of an installed one its version."""

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
    """A digest for each class of plug-ins that is a file's or a notebook's own, by its name; an installed one has its
    version, or nothing while that is the first.

    A digest covers the class, and what it calls or reads by name of such functions, classes, modules and plain values.
    Comments and docstrings do not count.

    Args:
        parts: plug-ins or their names; classes of any kind; lists of these; others are passed over.
    """
    kinds = {kind.__name__: kind for part in parts for kind in _kinds(part)}
    told = {name: _told(kind) for name, kind in sorted(kinds.items())}
    return {name: text for name, text in told.items() if text}


def code_identity(parts: Iterable[Any]) -> dict[str, dict[str, str]]:
    """What identifies a run of these plug-ins beside their arguments: ``codes``."""
    found = codes(parts)
    return {"code": found} if found else {}


def _kinds(part: Any) -> Iterator[type[Any]]:
    """The classes of a plug-in and of those among its arguments, a class itself, or the one that a name stands for."""
    if isinstance(part, type):
        yield part
    elif isinstance(part, Plugin):
        yield type(part)
        # What a class of its own way of telling its arguments holds is not looked into.
        with suppress(ContractError):
            yield from _kinds(list(arguments(part).values()))
    elif isinstance(part, list | tuple):
        for each in part:
            yield from _kinds(each)
    elif isinstance(part, str):
        yield from called(part.rpartition(".")[2], Plugin)


def _is_own(module: str) -> bool:
    """Whether a module is a file of the user's, or a notebook, and no installed one."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module == "__main__"
    return not any(Path(file).resolve().is_relative_to(folder) for folder in INSTALLED)


def _told(kind: type[Any]) -> str:
    """Empty for the first version of an installed class: cells from before there were any keep their names."""
    if _is_own(kind.__module__):
        return _digest(kind)
    version = kind.version if issubclass(kind, Plugin) else 1
    return f"version {version}" if version != 1 else ""


def _digest(kind: type[Any]) -> str:
    found: dict[str, str] = {}
    _collect(kind, found)
    return hashlib.sha256("\n".join(f"{name} {text}" for name, text in sorted(found.items())).encode()).hexdigest()[:16]


def _collect(item: Any, found: dict[str, str]) -> None:
    """Adds the code of a class or function, and of all that it names."""
    name = f"{item.__module__}.{item.__qualname__}"
    if name in found or not _is_own(item.__module__):
        return
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(item)))
    except (OSError, TypeError, SyntaxError):
        # A notebook or a text that was executed: then what Python made of it.
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
    """Adds what of ``used`` a module has; modules import one another, so none is looked into below itself."""
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
    """The code of a function, or of a class's own ones."""
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
