"""Conversion of the content of record files to typed objects, with each value checked."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

T = TypeVar("T")
# Numbers are strict: pydantic would otherwise accept true as 1 and "3" as 3. A count fits into 63 bits.
Number = Annotated[float, Field(strict=True)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Seconds = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
# Created once per type: that takes milliseconds, and a run reads hundreds of files of one type.
_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
# The ``__pydantic_config__`` of a dataclass with fields whose types no file can hold directly.
ANY_TYPE = ConfigDict(arbitrary_types_allowed=True)


def holding(kind: type) -> BeforeValidator:
    """Returns a validator for an ``Annotated`` mapping: it must have the fields of a dataclass, and is left unchanged.

    Other keys are allowed.
    """

    def checked(content: Any) -> Any:
        _adapter(kind).validate_python(content)
        return content

    return BeforeValidator(checked)


def typed(kind: type[T], content: Any, file: Path) -> T:
    """Converts a file's content to a dataclass or a typed dictionary; values without a field are dropped.

    Raises:
        ValueError: if a field is missing or has the wrong type; the message names the file, the field and its value.
    """
    try:
        converted: T = _adapter(kind).validate_python(content)
        return converted
    except ValidationError as error:
        first_error = error.errors(include_url=False)[0]
        field = ".".join(map(str, first_error["loc"]))
        if first_error["type"] == "missing":
            raise ValueError(f"{file} has no {field}") from error
        location = f"{file}: {field}" if field else str(file)
        raise ValueError(f"{location} is {first_error['input']!r:.60}: {first_error['msg']}") from error
