"""What a file of records holds, each value of the type that its reader expects."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

T = TypeVar("T")
# Numbers as they stand in a file; pydantic alone would take true for 1, and "3" for 3. A count fits into 63 bits.
Number = Annotated[float, Field(strict=True)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Seconds = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
# Made once a type: that takes milliseconds, and a run reads hundreds of files of one.
_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
# The ``__pydantic_config__`` of a dataclass with fields that no file holds as they are.
ANY_TYPE = ConfigDict(arbitrary_types_allowed=True)


def holding(kind: type) -> BeforeValidator:
    """Of an ``Annotated`` mapping: it must hold what a dataclass says, and stays what it is, other keys and all."""

    def checked(content: Any) -> Any:
        _adapter(kind).validate_python(content)
        return content

    return BeforeValidator(checked)


def typed(kind: type[T], content: Any, file: Path) -> T:
    """A dataclass, or typed dictionaries, of a file's content; values that it has no place for are left out.

    Raises:
        ValueError: naming the file, the first field that is missing or of another type, and what it holds.
    """
    try:
        made: T = _adapter(kind).validate_python(content)
        return made
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise ValueError(f"{file} has no {field}") from error
        at = f"{file}: {field}" if field else str(file)
        raise ValueError(f"{at} is {first['input']!r:.60}: {first['msg']}") from error
