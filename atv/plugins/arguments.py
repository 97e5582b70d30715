"""Reads a plug-in's arguments by its constructor's signature; any other attributes are the plug-in's own affair."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar


class ContractError(ValueError):
    """A plug-in violates the contract of its kind."""


class Plugin:
    """Base class of all kinds of plug-ins.

    The constructor stores each argument in the attribute of the same name, as scikit-learn's estimators do. In reports,
    cells and folders, the class and these attributes identify a plug-in. Other attributes are the plug-in's own affair.

    Attributes:
        option: name of the option that chooses a plug-in of this kind; messages about a plug-in begin with it.
        version: version of an installed class. It is incremented when the class produces different numbers for the same
            arguments, or changes their defaults: earlier cells and runs are then no longer taken for its own. (A class
            from the user's own file needs no version, because its code counts.)
    """

    option: ClassVar[str]
    version: ClassVar[int] = 1


def arguments(plugin: Plugin) -> dict[str, Any]:
    """Returns the arguments that a plug-in was made with, by name, from its attributes.

    Raises:
        ContractError: if the constructor takes ``*`` or ``**``, or does not store an argument.
    """
    class_name, values = type(plugin).__name__, {}
    for parameter in inspect.signature(type(plugin)).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ContractError(f"{class_name} takes {parameter}; name every argument, so that a report can record it")
        if not hasattr(plugin, parameter.name):
            raise ContractError(
                f"{class_name} has no attribute {parameter.name!r} that stores its constructor's argument"
            )
        values[parameter.name] = getattr(plugin, parameter.name)
    return values


def describe(plugin: Plugin, dotted: bool = False) -> dict[str, Any]:
    """Returns a plug-in's class name (its dotted path if ``dotted``) and its arguments, as JSON holds them.

    Raises:
        ContractError: as in ``arguments``, and for an argument that JSON cannot hold.
    """
    plugin_class = type(plugin)
    plain_values = {name: _plain_value(value, plugin_class, name, dotted) for name, value in arguments(plugin).items()}
    return {
        "class": f"{plugin_class.__module__}.{plugin_class.__qualname__}" if dotted else plugin_class.__name__,
        **plain_values,
    }


def _plain_value(value: Any, plugin_class: type[Plugin], name: str, dotted: bool) -> Any:
    if isinstance(value, Plugin):
        return describe(value, dotted)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain_value(item, plugin_class, name, dotted) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain_value(item, plugin_class, name, dotted) for key, item in value.items()}
    raise ContractError(
        f"{plugin_class.__name__} was given a {type(value).__name__} as {name}, which a report cannot hold; choices: "
        "numbers, text, paths, other plug-ins, and lists and dicts of these"
    )
