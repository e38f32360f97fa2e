"""One function for every format: the suffix of the destination decides."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..files import ensure_writable_parent
from ..outputs import check_pixels, check_replaceable, created_parents_removed_on_error
from ..splat.gaussians import Gaussians4D
from ..splat.io import load_scene
from .html import write_html
from .ply import write_ply_sequence
from .video import SUFFIXES, render_turntable, write_video

PLAYBACK_FPS = 12
PLY_FILES = r"frame_\d{3,}\.ply"


def export_scene(scene: str | Path | Gaussians4D, out: str | Path, *, frames: int = 24, size: int = 256) -> Path:
    """Write a scene for other programs; the suffix of `out` decides.

    `.html`: a page that plays; `.mp4`, `.gif`, `.webp`: turntable of `frames` frames, `size` pixels a side. No suffix:
    a folder with one 3DGS PLY for each of `frames` times. `scene` is a Gaussians4D, a scene file or the folder that
    holds scene.safetensors.
    Raises InputError for an unreadable scene, another suffix, or an `out` that cannot be written.
    """
    out = Path(out)
    if not 2 <= frames <= 1024:
        raise InputError(f"--frames: expected 2 to 1024, got {frames}")
    if not 16 <= size <= 2048:
        raise InputError(f"--size: expected 16 to 2048 pixels, got {size}")
    if out.suffix.lower() not in (".html", *SUFFIXES, ""):
        raise InputError(
            f"{out}: expected a name in .html, {', '.join(SUFFIXES)}, or one without suffix for a folder of PLY files"
        )
    if out.suffix.lower() in SUFFIXES:
        check_pixels(frames=frames, size=size)
    if out.suffix and out.is_dir():
        raise InputError(f"{out}: is a folder, expected a file name; choose another name")
    if not out.suffix:
        check_replaceable(out, files=PLY_FILES, argument="OUT")
    loaded = load_scene(scene_file(scene)) if isinstance(scene, str | Path) else scene
    with created_parents_removed_on_error(out):
        ensure_writable_parent(out)
        match out.suffix.lower():
            case ".html":
                write_html(loaded, out, frames=frames, title=out.stem)
            case "":
                write_ply_sequence(loaded, out, frames=frames)
            case _:
                write_video(render_turntable(loaded, frames=frames, size=size), out, fps=PLAYBACK_FPS)
    return out


def scene_file(path: str | Path) -> Path:
    """The scene file that `path` names: itself, or scene.safetensors in the folder that it is."""
    path = Path(path)
    return path / "scene.safetensors" if path.is_dir() else path
