"""What a plug-in was made of, read from its constructor's signature; what else it keeps on itself is its own."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar


class ContractError(ValueError):
    """A plug-in is not what its kind asks for."""


class Plugin:
    """What every kind of plug-in derives from.

    Its constructor keeps each argument as the attribute of that name, as scikit-learn's estimators do: in reports,
    cells and folders, its class and these identify a plug-in. Other attributes are the plug-in's own affair.

    Attributes:
        option: by which a plug-in of the kind is chosen; messages about one begin with it.
        version: of an installed class, raised when it gives other numbers than before for the same arguments or other
            arguments by default: cells and runs of before are then no longer taken for its own. (A class of the user's
            own file needs none, its code counts.)
    """

    option: ClassVar[str]
    version: ClassVar[int] = 1


def arguments(plugin: Plugin) -> dict[str, Any]:
    """The arguments that a plug-in was made with, by name, as its attributes have them.

    Raises:
        ContractError: for a constructor with ``*`` or ``**``, or one that does not keep an argument.
    """
    kind, kept = type(plugin).__name__, {}
    for parameter in inspect.signature(type(plugin)).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ContractError(f"{kind} takes {parameter}; name every argument, so that a report can tell what it was")
        if not hasattr(plugin, parameter.name):
            raise ContractError(f"{kind} keeps no attribute {parameter.name!r} for its constructor's argument")
        kept[parameter.name] = getattr(plugin, parameter.name)
    return kept


def describe(plugin: Plugin, dotted: bool = False) -> dict[str, Any]:
    """A plug-in's class name (its dotted path if so asked) and arguments, as JSON holds them.

    Raises:
        ContractError: as ``arguments`` does, and for an argument that JSON cannot hold.
    """
    kind = type(plugin)
    plain = {name: _plain(value, kind, name, dotted) for name, value in arguments(plugin).items()}
    return {"class": f"{kind.__module__}.{kind.__qualname__}" if dotted else kind.__name__, **plain}


def _plain(value: Any, kind: type[Plugin], name: str, dotted: bool) -> Any:
    if isinstance(value, Plugin):
        return describe(value, dotted)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item, kind, name, dotted) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item, kind, name, dotted) for key, item in value.items()}
    raise ContractError(
        f"{kind.__name__} was given a {type(value).__name__} as {name}, which no report can hold; choices: numbers, "
        "text, paths, other plug-ins, and lists and dicts of these"
    )
