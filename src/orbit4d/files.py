"""Writing so that nothing is ever half-written: everything goes beside its destination first and is then renamed.

And the one way to parse JSON that a user brings: whatever is wrong with it is one line.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .errors import InputError

_UNFINISHED = "unfinished-"
"""In the names of the hidden folders that results grow in."""
_SETTLED = 10.0
"""Seconds after which such a folder is locked, if its maker lives."""


@contextmanager
def atomic_path(destination: str | Path) -> Iterator[Path]:
    """Yield a temporary file path beside `destination`; it is renamed onto it when the block ends without an error.

    The temporary name keeps the suffix, so that writers that choose a format by suffix work.
    Raises InputError when `destination` is a folder or its folder cannot be written.
    """
    destination = Path(destination)
    if destination.is_dir():
        raise InputError(f"{destination}: expected a file (or nothing) there, found a folder; choose another name")
    ensure_writable_parent(destination)
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{destination.stem}.", suffix=destination.suffix, dir=destination.parent
        )
    except OSError as error:  # names the temporary file, which nobody asked for
        raise OSError(error.errno, error.strerror, str(destination)) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, destination)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(destination: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `destination`; it replaces `destination` when the block ends without an error.

    Only a folder that is empty or that an earlier call wrote should be passed: an existing one is replaced whole. Hidden
    folders that killed processes left beside it on the way to the same destination are removed.
    Raises InputError when `destination` cannot be replaced (see `replaceable_folder`) or its parent cannot be written.
    """
    destination = replaceable_folder(destination)
    ensure_writable_parent(destination)
    prefix = f".{destination.name}.{_UNFINISHED}"
    for stale in destination.parent.glob(f"{glob.escape(prefix)}*"):
        if _is_old(stale) and (lock := _folder_lock(stale)) is not None:  # a killed process left it
            shutil.rmtree(stale, ignore_errors=True)
            os.close(lock)
    temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=destination.parent))
    lock, old = _folder_lock(temporary), None
    try:
        yield temporary
        temporary.chmod(0o755)
        if destination.exists():
            old = destination.with_name(f".{destination.name}.old-{os.getpid()}")
            os.replace(destination, old)
        os.replace(temporary, destination)
    except BaseException:
        if old is not None and old.exists() and not destination.exists():
            os.replace(old, destination)
            old = None
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _is_old(folder: Path) -> bool:
    """Whether it has had time to be locked by whoever made it."""
    try:
        return time.time() - folder.lstat().st_mtime > _SETTLED
    except OSError:
        return False


def _folder_lock(folder: Path) -> int | None:
    """An open descriptor that holds the lock of a folder of our own, for as long as it is open; None where another holds it or the
    file system has no such locks."""
    import fcntl

    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def replaceable_folder(path: str | Path, *, argument: str = "output") -> Path:
    """`path` as an absolute path without links, where a folder can be put by renaming.

    Raises InputError, naming `argument`, for a file, a mount point, and the current folder or one above it: whoever
    stands in a folder that is renamed away is left in one that no longer exists.
    """
    try:
        resolved, current = Path(path).resolve(), Path.cwd()
    except (OSError, RuntimeError, ValueError) as error:  # a deleted current folder, a loop of links, a null byte
        raise InputError(f"{argument}: {path} names no folder ({error}); choose another name") from error
    if resolved.is_symlink() or (resolved.exists() and not resolved.is_dir()):
        raise InputError(f"{argument}: {path} is a file, expected a folder or nothing there; choose another name")
    if current.is_relative_to(resolved):
        raise InputError(
            f"{argument}: {path} is the current folder or one above it ({resolved}), which cannot be replaced; "
            "name a folder inside it"
        )
    if resolved.is_mount():
        raise InputError(f"{argument}: {path} is a mount point, which cannot be replaced; name a folder inside it")
    return resolved


def ensure_writable_parent(path: Path) -> None:
    """Create the folder that will hold `path`. Raises InputError when that is impossible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot create its folder ({error.strerror}); choose an --out you can write"
        ) from error
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: its folder is not writable; choose an --out you can write")


def lock_folder(folder: Path, *, option: str = "--out") -> IO[str]:
    """The open, locked lock file of a folder that one process writes at a time. The lock ends with the process, however that dies.

    Raises InputError, naming the holder and the `option` that chose the folder, when another holds it, and when the folder cannot
    be written.
    """
    import fcntl

    path = folder / ".lock"
    try:
        handle = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (kept open: it is the lock)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another {option}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.seek(0)
        holder = " ".join(handle.read(200).split()) or "unknown"
        handle.close()
        raise InputError(
            f"{folder}: another run is writing there ({holder}); wait for it or choose another {option}"
        ) from error
    handle.truncate(0)
    handle.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    handle.flush()
    return handle


def file_sha256(path: str | Path) -> str:
    """64 hexadecimal digits of a file of any size. Raises InputError where it cannot be read."""
    try:
        with open(path, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check it, or write it again") from error


def digest(files: Iterable[Path]) -> str:
    """16 hexadecimal digits that name the contents of `files`, one after the other (SHA-256)."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(file.read_bytes())
    return whole.hexdigest()[:16]


def json_digest(value: Any) -> str:
    """16 hexadecimal digits that name a value that JSON can hold; the order of keys does not count (SHA-256)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def parse_json(text: str | bytes, *, source: str | Path) -> Any:
    """The value of JSON from a file that may hold anything; integers beyond a float's range become infinite floats.

    Raises InputError, naming `source`, for what does not parse, nesting too deep included.
    """
    try:
        return json.loads(text, parse_int=_bounded_int)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: expected JSON, but it does not parse ({error}); write it again") from error


def _bounded_int(digits: str) -> int | float:
    """Longer integers raise in `int` (4,300 digits) or in `float` (309), far from where they were read."""
    return int(digits) if len(digits) < 300 else float(digits)
