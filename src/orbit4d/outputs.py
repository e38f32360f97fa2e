"""Where results go: an --out folder is checked before anything is computed, and appears only when it is whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InputError
from .files import atomic_folder

CLIP_FILES = r"transforms\.json|frame_\d{3,}\.png|depth_\d{3,}\.npy"
"""What `save_clip` writes."""


def check_replaceable(folder: str | Path, *, files: str, argument: str = "--out") -> None:
    """Make sure that replacing `folder` whole loses nothing of the user's.

    Raises InputError, naming `argument`, unless `folder` is absent, empty, or holds only files whose names match the
    regular expression `files` (that is: the output of an earlier run).
    """
    folder = Path(folder)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{argument}: {folder} is a file, expected a folder or nothing there; choose another name")
    foreign = next((p.name for p in sorted(folder.iterdir()) if p.is_dir() or not re.fullmatch(files, p.name)), None)
    if foreign is not None:
        raise InputError(f"{argument}: {folder} holds other files ({foreign}); name a new or empty folder")


@contextmanager
def output_folder(out: str | Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `out` when the block ends without an error; on an error nothing is left
    behind.

    Raises InputError before the block when `out` cannot be written, is a file, or is a folder that is neither empty nor
    the output of an earlier run (recognised by the `report.json` of orbit4d in it).
    """
    out = Path(out)
    if out.is_file():
        raise InputError(f"--out: {out} is a file, expected a folder or nothing there; choose another name")
    if out.is_dir() and any(out.iterdir()) and not _is_earlier_output(out):
        raise InputError(f"--out: {out} is not empty and not an earlier output of orbit4d; name a new or empty folder")
    with created_parents_removed_on_error(out), atomic_folder(out) as temporary:
        yield temporary


@contextmanager
def created_parents_removed_on_error(path: Path) -> Iterator[None]:
    """Folders above `path` that did not exist before the block are removed again, if empty, when the block raises."""
    missing = []
    for parent in path.absolute().parents:
        if parent.exists():
            break
        missing.append(parent)
    try:
        yield
    except BaseException:
        for parent in missing:  # innermost first
            with suppress(OSError):
                parent.rmdir()
        raise


def write_report(report: dict, folder: Path) -> None:
    """Write `report.json`; its first key marks the folder as ours."""
    (folder / "report.json").write_text(json.dumps({"program": "orbit4d", **report}, indent=2) + "\n")


def _is_earlier_output(folder: Path) -> bool:
    try:
        report = json.loads((folder / "report.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(report, dict) and report.get("program") == "orbit4d"
