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


def codes(plugins: Iterable[Any]) -> dict[str, str]:
    """Returns, by class name, a digest for each class from the user's file or notebook, else the class's version.

    An installed class is left out while its version is the first. A digest covers the class and the user's own
    functions, classes, modules and plain values that it calls or reads by name. Comments and docstrings do not count.

    Args:
        plugins: plug-ins or their names, classes of any kind, and lists of these; anything else is ignored.
    """
    classes = {cls.__name__: cls for part in plugins for cls in _classes_of(part)}
    texts = {name: _digest_or_version(cls) for name, cls in sorted(classes.items())}
    return {name: text for name, text in texts.items() if text}


def code_identity(plugins: Iterable[Any]) -> dict[str, dict[str, str]]:
    """Returns what identifies a run of these plug-ins besides their arguments: ``codes``, if there are any."""
    class_codes = codes(plugins)
    return {"code": class_codes} if class_codes else {}


def _classes_of(item: Any) -> Iterator[type[Any]]:
    """Yields the classes of a plug-in and of those in its arguments, a class itself, or those that a name means."""
    if isinstance(item, type):
        yield item
    elif isinstance(item, Plugin):
        yield type(item)
        # If a plug-in's arguments cannot be read from its constructor, they are not searched.
        with suppress(ContractError):
            yield from _classes_of(list(arguments(item).values()))
    elif isinstance(item, list | tuple):
        for inner in item:
            yield from _classes_of(inner)
    elif isinstance(item, str):
        yield from called(item.rpartition(".")[2], Plugin)


def _is_user_module(module: str) -> bool:
    """Whether a module is a user's file or a notebook, rather than an installed module."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module == "__main__"
    return not any(Path(file).resolve().is_relative_to(folder) for folder in INSTALLED)


def _digest_or_version(cls: type[Any]) -> str:
    """A class's digest or version; empty for version 1, so that cells older than versions keep their names."""
    if _is_user_module(cls.__module__):
        return _digest(cls)
    version = cls.version if issubclass(cls, Plugin) else 1
    return f"version {version}" if version != 1 else ""


def _digest(cls: type[Any]) -> str:
    code_by_name: dict[str, str] = {}
    _collect(cls, code_by_name)
    return hashlib.sha256(
        "\n".join(f"{name} {text}" for name, text in sorted(code_by_name.items())).encode()
    ).hexdigest()[:16]


def _collect(item: Any, code_by_name: dict[str, str]) -> None:
    """Adds the code of a class or function, and of everything that it names."""
    name = f"{item.__module__}.{item.__qualname__}"
    if name in code_by_name or not _is_user_module(item.__module__):
        return
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(item)))
    except (OSError, TypeError, SyntaxError):
        # In a notebook, or for text that was executed, the source is missing: the compiled code is used instead.
        code_by_name[name] = repr([_compiled(code) for code in _functions(item)])
        used_names = {used_name for code in _functions(item) for used_name in code.co_names}
    else:
        code_by_name[name] = ast.unparse(_without_docstrings(tree))
        used_names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        used_names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    _collect_named(sys.modules[item.__module__], used_names, code_by_name)


def _collect_named(
    module: ModuleType, used_names: Iterable[str], code_by_name: dict[str, str], ancestors: tuple[ModuleType, ...] = ()
) -> None:
    """Adds those of ``used_names`` that a module has; modules import one another, so none is searched below itself."""
    for name in sorted(used_names):
        value = vars(module).get(name)
        if isinstance(value, type | FunctionType):
            _collect(value, code_by_name)
        elif isinstance(value, ModuleType):
            if value not in (module, *ancestors) and _is_user_module(value.__name__):
                _collect_named(value, used_names, code_by_name, (module, *ancestors))
        elif name in vars(module) and _is_plain(value):
            code_by_name[f"{module.__name__}.{name}"] = repr(value)


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, [*value, *value.values()]))
    return all(map(_is_plain, value)) if isinstance(value, list | tuple) else isinstance(value, PLAIN)


def _functions(item: Any) -> list[CodeType]:
    """Returns the code of a function, or of the functions that a class itself defines."""
    functions = [item] if isinstance(item, FunctionType) else vars(item).values()
    return [member.__code__ for member in functions if isinstance(member, FunctionType)]


def _compiled(code: CodeType) -> tuple[Any, ...]:
    constants = [
        _compiled(constant) if isinstance(constant, CodeType) else repr(constant) for constant in code.co_consts
    ]
    return code.co_code.hex(), constants, code.co_names


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree
