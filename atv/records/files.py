"""Files that are either whole or absent."""

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
# A file under way: what it is to be, unless it never leaves its folder, who writes it, and what tells it from others.
_TEMPORARY = re.compile(r"(\..+\.)?(?P<machine>[0-9a-f]{8})-(?P<process>\d{1,9})-\w+")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.{writer()}-")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _readable(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def writer() -> str:
    """This machine and process, for names of temporary files: by them a later start knows those of one that is gone."""
    return f"{_machine()}-{os.getpid()}"


def is_temporary(file: Path) -> bool:
    """Whether a file is called like those that take another's place once they are whole, and those with a writer."""
    return _TEMPORARY.fullmatch(file.name) is not None


def is_abandoned(file: Path) -> bool:
    """Whether a temporary file's writer is gone, for all that this machine can tell.

    Whoever asks must write nothing there: a container that starts again gives its process the number that it had.
    """
    named = _TEMPORARY.fullmatch(file.name)
    return named is not None and named["machine"] == _machine() and not _is_running(int(named["process"]))


def clear_abandoned(folder: Path, *patterns: str) -> None:
    """Removes the temporary files and folders that match whose writers are gone; see ``is_abandoned``."""
    for pattern in patterns:
        for left in filter(is_abandoned, folder.glob(pattern)):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def _machine() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _is_running(process: int) -> bool:
    """Whether there is another process of this number."""
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
    """Atomically, as UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Atomically, indented, floats in full."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path, schema: int) -> dict[str, Any]:
    """An object that ``write_json`` wrote; one without a schema counts as the first.

    Raises:
        ValueError: for a file that is not there, is no JSON, holds no object, or is of a later schema.
    """
    content = json_of(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    if type(there := content.get("schema", 1)) is not int or there < 1:
        raise ValueError(f"{path} holds another file's fields: its schema is {there!r:.60}")
    if there > schema:
        raise ValueError(f"{path} is of schema {there}, this version of atv reads up to {schema}: update atv")
    return content


def json_of(path: Path) -> Any:
    """What a file of JSON holds.

    Raises:
        ValueError: for a file that is not there, or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"no such file {str(path)!r}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from error


def from_here(file: str | Path) -> str:
    """Relative to the working folder where it lies in it, as in a checkout."""
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def writable(folder: str | Path, field: str) -> Path:
    """The folder, which need not be there; whoever writes the first file makes it, so a refused command leaves none.

    Raises:
        ValueError: when nothing can be written there.
    """
    folder = Path(folder)
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            return folder
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"{field}: cannot write to {str(folder)!r:.200}: {why}") from error


def _existing(folder: Path) -> Path:
    """The folder itself or, where it is not there, the nearest above it that is."""
    try:
        folder.lstat()
    except FileNotFoundError:
        return _existing(folder.parent)
    return folder


def empty_folder(folder: str | Path, field: str) -> Path:
    """The folder, which need not be there.

    Raises:
        ValueError: when nothing can be written there, or something lies there.
    """
    target = writable(folder, field)
    if not is_empty(target):
        raise ValueError(f"{field}: {str(folder)!r} is not empty; name another folder")
    return target


def is_empty(folder: Path) -> bool:
    """Whether nothing lies there but hidden files, as a killed or refused command may have left some of its own.

    A folder that is not there is empty.
    """
    return not folder.exists() or all(file.name.startswith(".") for file in folder.iterdir())


def require_space(folder: Path, needed: int, field: str) -> None:
    """Checks that ``needed`` bytes fit, those that the folder holds already included, hidden scratch excepted.

    Raises:
        ValueError: naming the folder, what is needed and what is free.
    """
    held = (file for file in folder.rglob("*") if file.is_file() and not _is_scratch(file.relative_to(folder)))
    missing = needed - sum(file.stat().st_size for file in held)
    if missing > (free := shutil.disk_usage(_existing(folder)).free):
        raise ValueError(
            f"{field}: {str(folder)!r} needs {missing / 1e9:.2f} GB more and {free / 1e9:.2f} GB are free; "
            "free space or choose another folder"
        )


def _is_scratch(file: Path) -> bool:
    """Whether a path within a folder is hidden; a save that was cut short makes room when it is begun again."""
    return file.parts[0] != _WRITING and any(part.startswith(".") for part in file.parts)


def saved_atomically(folder: Path, write: Callable[[Path], None]) -> None:
    """Lets ``write`` fill a fresh folder, then moves its files and sub-folders into ``folder``, config.json last.

    A folder with a config.json is a whole model.
    """
    fresh = folder / _WRITING
    # A killed run may have left one.
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        write(fresh)
        last = fresh / "config.json"
        for file in sorted(fresh.rglob("*"), key=lambda file: (file == last, file)):
            place = folder / file.relative_to(fresh)
            if file.is_dir():
                place.mkdir(exist_ok=True)
            else:
                _readable(file)
                os.replace(file, place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _readable(file: Path) -> None:
    """Gives a temporary file, private when made, the mode that an ordinary new file would have."""
    mask = os.umask(0)
    os.umask(mask)
    file.chmod(0o666 & ~mask)
