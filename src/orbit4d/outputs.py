"""Where results go: an --out folder is checked before anything is computed, and appears only when it is whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InputError
from .files import atomic_folder, parse_json, replaceable_folder

CLIP_FILES = r"transforms\.json|frame_\d{3,}\.png|depth_\d{3,}\.npy"
"""What `save_clip` writes."""
ASSET_FILES = rf"clip/(?:{CLIP_FILES})?|orbit\.mp4|scene\.(?:safetensors|html)|report\.json"
"""What `generate` and `reconstruct` write, as paths in their folder; folders end in a slash."""
_LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")
"""What file managers leave in every folder that is looked at."""
MAX_PIXELS = 2**27
"""Pixels of all frames that are made at once; each takes about 50 bytes on the way."""


def check_replaceable(folder: str | Path, *, files: str, argument: str = "--out") -> Path:
    """Make sure that replacing `folder` whole loses nothing of the user's; return its absolute path.

    Raises InputError, naming `argument`, unless `folder` can be replaced and is absent, empty, or holds only entries
    whose relative paths match the regular expression `files` (that is: the output of an earlier run).
    """
    resolved = replaceable_folder(folder, argument=argument)
    foreign = _foreign_entry(resolved, files) if resolved.is_dir() else None
    if foreign is not None:
        raise InputError(
            f"{argument}: {folder} holds other files ({foreign}), which would be lost; "
            "move them away, or name a new or empty folder"
        )
    return resolved


@contextmanager
def output_folder(out: str | Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `out` when the block ends without an error; on an error nothing is left
    behind.

    Raises InputError before the block when `out` cannot be written, is a file, or is a folder that is neither empty nor
    the output of an earlier run alone (recognised by the names in it and by its `report.json`).
    """
    folder = check_replaceable(out, files=ASSET_FILES)
    if folder.is_dir() and any(folder.iterdir()) and not _is_earlier_output(folder):
        raise InputError(f"--out: {out} is not empty and not an earlier output of orbit4d; name a new or empty folder")
    with created_parents_removed_on_error(folder), atomic_folder(folder) as temporary:
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


def resume_file(out: str | Path) -> Path:
    """The hidden file beside the folder `out` from which an interrupted construction is taken up by the same command; there until
    the folder is."""
    folder = Path(out).absolute()
    return folder.with_name(f".{folder.name}.orbit4d-resume")


def check_pixels(*, frames: int, size: int) -> None:
    """Raises InputError when `frames` images of `size` x `size` pixels are more than MAX_PIXELS."""
    pixels = frames * size**2
    if pixels > MAX_PIXELS:
        raise InputError(
            f"--frames and --size: {frames} frames of {size} x {size} are {pixels / 1e6:.0f} million pixels, "
            f"at most {MAX_PIXELS / 1e6:.0f} million fit in memory; take fewer or smaller frames"
        )


def write_report(report: dict, folder: Path) -> None:
    """Write `report.json`; its first key marks the folder as ours."""
    (folder / "report.json").write_text(json.dumps({"program": "orbit4d", **report}, indent=2) + "\n")


def _foreign_entry(folder: Path, files: str, prefix: str = "") -> str | None:
    """The first entry below `folder` whose path, from where the search began, does not match `files`."""
    for entry in sorted(folder.iterdir()):
        inner = entry.is_dir() and not entry.is_symlink()
        name = f"{prefix}{entry.name}/" if inner else prefix + entry.name
        if entry.name not in _LITTER and not re.fullmatch(files, name):
            return name
        foreign = _foreign_entry(entry, files, name) if inner else None
        if foreign is not None:
            return foreign
    return None


def _is_earlier_output(folder: Path) -> bool:
    try:
        report = parse_json((folder / "report.json").read_bytes(), source=folder / "report.json")
    except (OSError, InputError):
        return False
    return isinstance(report, dict) and report.get("program") == "orbit4d"
