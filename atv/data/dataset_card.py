"""Reads which files a data set's README.md declares: ``configs`` with their ``data_files``, as on the hub."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import metadata_load

from atv.data.row_files import SUFFIXES
from atv.data.wording import quoted, reason, short

CARD = "README.md"


def declared_files(folder: Path, config: str | None, split: str, field: str) -> list[Path] | None:
    """Returns the split's files that a folder's README.md declares for ``config``; None if it declares none.

    Without ``config``, it is the configuration that is marked as default or called "default", or the only one.

    Raises:
        ValueError: if there are several configurations but no default, the split is unknown (the message lists the
            known ones), or a file does not exist or holds no rows.
    """
    configs = configurations(folder, field)
    if not configs or (config is not None and config not in configs):
        return None
    where = f"{CARD} of {quoted(str(folder), 120)}"
    patterns = dict(_patterns(configs[config or _default_name(configs, f"{field}.config: {where}")]))
    if not patterns:
        return None
    if split not in patterns:
        raise ValueError(f"{field}: {where} has no split {split!r}; found {short(', '.join(patterns))}")
    return _matching_files(folder, patterns[split], f"{field}: {where}")


def configurations(folder: Path, field: str) -> dict[str, Mapping[str, Any]]:
    """Returns name -> configuration, in the order of the file.

    Raises:
        ValueError: if the head of the README.md is not valid YAML.
    """
    card = folder / CARD
    try:
        entries = (metadata_load(card) or {}).get("configs") if card.is_file() else None
    except Exception as error:  # The YAML library has its own exceptions.
        raise ValueError(f"{field}: {quoted(str(card), 120)} cannot be read: {reason(error)}") from error
    configs = [config for config in entries if isinstance(config, Mapping)] if isinstance(entries, list) else []
    return {str(config.get("config_name", "default")): config for config in configs}


def _default_name(configs: Mapping[str, Mapping[str, Any]], where: str) -> str:
    default_names = [name for name, config in configs.items() if config.get("default") is True or name == "default"]
    if not default_names and len(configs) > 1:
        raise ValueError(f"{where} has several configurations and no default; name one of {short(', '.join(configs))}")
    return (default_names or list(configs))[0]


def _patterns(config: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yields (split, patterns of its files); files without a split belong to train, as in ``datasets``."""
    files = config.get("data_files") or []
    files = [files] if isinstance(files, (str, Mapping)) else list(files)
    if train_patterns := [str(entry) for entry in files if not isinstance(entry, Mapping)]:
        yield "train", train_patterns
    for entry in files:
        if isinstance(entry, Mapping):
            paths = entry.get("path") or []
            yield str(entry.get("split", "train")), [paths] if isinstance(paths, str) else [str(path) for path in paths]


def _matching_files(folder: Path, patterns: Sequence[str], where: str) -> list[Path]:
    matching_files: list[Path] = []
    for pattern in patterns:
        try:
            files = sorted(file for file in folder.glob(pattern) if file.is_file())
        except (ValueError, NotImplementedError) as error:
            raise ValueError(f"{where} names {quoted(pattern)}, which is not a path inside the folder") from error
        if not files:
            raise ValueError(f"{where} names {quoted(pattern)}, but there is no such file")
        if unsuitable_names := [file.name for file in files if file.suffix.lower() not in SUFFIXES]:
            raise ValueError(
                f"{where} names {quoted(unsuitable_names[0])}; expected files ending in {', '.join(SUFFIXES)}"
            )
        matching_files += files
    return list(dict.fromkeys(matching_files))
