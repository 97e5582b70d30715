"""Atomic file operations: a file is either complete or absent."""

import json
import os
import re
import shutil
import socket
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_WRITING = ".writing"
# A temporary file: the name of its target (unless it never leaves its folder), its writer, and a unique suffix.
_TEMPORARY = re.compile(r"(\..+\.)?(?P<machine>[0-9a-f]{8})-(?P<process>\d{1,9})-\w+")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path next to ``path``, and renames it to ``path`` if the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.{writer()}-")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _make_readable(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def writer() -> str:
    """Returns a tag of this machine and process for temporary files, so that a later start can tell abandoned ones."""
    return f"{_machine()}-{os.getpid()}"


def is_temporary(file: Path) -> bool:
    """Returns whether a file has the name of a temporary file: of ``atomic``, or one that begins with ``writer()``."""
    return _TEMPORARY.fullmatch(file.name) is not None


def is_abandoned(file: Path) -> bool:
    """Returns whether a temporary file's writer is gone, as far as this machine can tell.

    The caller must not be writing there itself: a restarted container gives its process the same number as before.
    """
    matched = _TEMPORARY.fullmatch(file.name)
    return matched is not None and matched["machine"] == _machine() and not _is_running(int(matched["process"]))


def clear_abandoned(folder: Path, *patterns: str) -> None:
    """Removes temporary files and folders that match a pattern and whose writers are gone; see ``is_abandoned``."""
    for pattern in patterns:
        for leftover in filter(is_abandoned, folder.glob(pattern)):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def _machine() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _is_running(process: int) -> bool:
    """Returns whether a process other than this one has this number."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def write_text(path: Path, content: str) -> None:
    """Writes text atomically, as UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Writes JSON atomically, indented, with floats at full precision."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path, schema: int) -> dict[str, Any]:
    """Reads an object that ``write_json`` wrote; without a schema, it counts as schema 1.

    Raises:
        ValueError: if the file is missing, is not valid JSON, does not hold an object, or has a later schema.
    """
    content = json_of(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} does not hold a JSON object")
    if type(recorded_schema := content.get("schema", 1)) is not int or recorded_schema < 1:
        raise ValueError(f"{path} holds the fields of a different file: its schema is {recorded_schema!r:.60}")
    if recorded_schema > schema:
        raise ValueError(
            f"{path} has schema {recorded_schema}, but this version of atv reads up to {schema}; update atv"
        )
    return content


def json_of(path: Path) -> Any:
    """Returns the content of a JSON file.

    Raises:
        ValueError: if the file is missing or is not valid JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"no such file {str(path)!r}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def from_here(file: str | Path) -> str:
    """Returns a path relative to the working folder if it lies in there, as in a checkout; otherwise, unchanged."""
    path, working_folder = Path(file), Path.cwd()
    return str(path.relative_to(working_folder) if path.is_relative_to(working_folder) else path)


def writable(folder: str | Path, field: str) -> Path:
    """Returns the folder after checking that it can be written to; it need not exist.

    The folder is created with its first file only, so that a rejected command leaves none behind.

    Raises:
        ValueError: if nothing can be written there.
    """
    folder = Path(folder)
    try:
        with tempfile.TemporaryFile(dir=_nearest_existing(folder)):
            return folder
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{field}: cannot write to {str(folder)!r:.200}: {reason}") from error


def _nearest_existing(folder: Path) -> Path:
    """Returns the folder itself or, if it does not exist, its nearest parent that does."""
    try:
        folder.lstat()
    except FileNotFoundError:
        return _nearest_existing(folder.parent)
    return folder


def empty_folder(folder: str | Path, field: str) -> Path:
    """Returns the folder after checking that it is writable and empty; it need not exist.

    Raises:
        ValueError: if nothing can be written there, or the folder is not empty.
    """
    target = writable(folder, field)
    if not is_empty(target):
        raise ValueError(f"{field}: {str(folder)!r} is not empty; choose another folder")
    return target


def is_empty(folder: Path) -> bool:
    """Returns whether a folder is missing or holds only hidden files, which a killed or rejected command may leave."""
    return not folder.exists() or all(file.name.startswith(".") for file in folder.iterdir())


def require_space(folder: Path, byte_count: int, field: str) -> None:
    """Checks that ``byte_count`` bytes fit on the disk, counting what the folder holds except for hidden scratch.

    Raises:
        ValueError: if they do not; the message names the folder, the space needed and the space free.
    """
    files = (file for file in folder.rglob("*") if file.is_file() and not _is_scratch(file.relative_to(folder)))
    missing = byte_count - sum(file.stat().st_size for file in files)
    if missing > (free := shutil.disk_usage(_nearest_existing(folder)).free):
        raise ValueError(
            f"{field}: {str(folder)!r} needs {missing / 1e9:.2f} GB more, but only {free / 1e9:.2f} GB are free; "
            "free space or choose another folder"
        )


def _is_scratch(file: Path) -> bool:
    """Returns whether a path within a folder is hidden scratch.

    An interrupted save does not count as scratch: its space is freed when the save restarts.
    """
    return file.parts[0] != _WRITING and any(part.startswith(".") for part in file.parts)


def saved_atomically(folder: Path, write: Callable[[Path], None]) -> None:
    """Lets ``write`` fill a fresh folder, then moves its files and subfolders into ``folder``, config.json last.

    A folder with a config.json therefore holds a complete model.
    """
    fresh = folder / _WRITING
    # A killed run may have left one behind.
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        write(fresh)
        config_file = fresh / "config.json"
        for file in sorted(fresh.rglob("*"), key=lambda file: (file == config_file, file)):
            destination = folder / file.relative_to(fresh)
            if file.is_dir():
                destination.mkdir(exist_ok=True)
            else:
                _make_readable(file)
                os.replace(file, destination)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _make_readable(file: Path) -> None:
    """Gives a temporary file, which is created private, the mode of an ordinary new file."""
    mask = os.umask(0)
    os.umask(mask)
    file.chmod(0o666 & ~mask)
