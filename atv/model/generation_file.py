"""Checks that generation_config.json has the types that greedy answers rely on.

transformers keeps any value: it reads ``"eos_token_id": true`` as token 1, and answers end elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from atv.records.typed import Count, Finite, typed

GENERATION = "generation_config.json"
# Some files use -1 for no token.
_Id = Annotated[int, Field(strict=True)]


@dataclass(frozen=True)
class _Greedy:
    """The fields that affect greedy answers; sampling is switched off."""

    eos_token_id: _Id | list[_Id] | None = None
    bos_token_id: _Id | None = None
    pad_token_id: _Id | None = None
    forced_bos_token_id: _Id | None = None
    forced_eos_token_id: _Id | list[_Id] | None = None
    suppress_tokens: list[_Id] | None = None
    begin_suppress_tokens: list[_Id] | None = None
    bad_words_ids: list[list[_Id]] | None = None
    stop_strings: str | list[str] | None = None
    min_length: Count | None = None
    min_new_tokens: Count | None = None
    no_repeat_ngram_size: Count | None = None
    repetition_penalty: Finite | None = None


def check_generation(content: Mapping[str, Any], file: Path) -> None:
    """Checks the content of a generation_config.json.

    Raises:
        ValueError: if a value has the wrong type; the message names the file, field and value.
    """
    try:
        typed(_Greedy, content, file)
    except ValueError as error:
        raise ValueError(f"model: {error}") from error
