"""Writing so that nothing is ever half-written: everything goes beside its destination first and is then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


@contextmanager
def atomic_path(destination: str | Path) -> Iterator[Path]:
    """Yield a temporary file path beside `destination`; it is renamed onto it when the block ends without an error.

    The temporary name keeps the suffix, so that writers that choose a format by suffix work.
    Raises InputError when the folder cannot be written.
    """
    destination = Path(destination)
    ensure_writable_parent(destination)
    handle, name = tempfile.mkstemp(prefix=f".{destination.stem}.", suffix=destination.suffix, dir=destination.parent)
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

    Only a folder that is empty or that an earlier call wrote should be passed: an existing one is replaced whole.
    Raises InputError when `destination` is a file or its parent cannot be written.
    """
    destination = Path(destination)
    ensure_writable_parent(destination)
    if destination.exists() and not destination.is_dir():
        raise InputError(f"{destination}: expected a folder (or nothing) there, found a file; choose another name")
    temporary = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    old = None
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
