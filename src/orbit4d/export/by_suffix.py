"""One function for every format: the suffix of the destination decides."""

from __future__ import annotations

from pathlib import Path

import torch

from ..clip import save_clip
from ..errors import InputError
from ..files import ensure_writable_parent
from ..imports.scenes import load_gaussians
from ..outputs import CLIP_FILES, check_pixels, check_replaceable, created_parents_removed_on_error
from ..splat.gaussians import Gaussians, Gaussians4D
from ..splat.io import save_scene
from ..splat.turning import Up, check_up
from .compact import write_compact
from .four_dgs import write_4dgs
from .glb import write_glb
from .html import write_html
from .ply import write_ply, write_ply_sequence
from .video import SUFFIXES, check_alpha, render_turntable, turntable, write_video

PLAYBACK_FPS = 12
PLY_FILES = r"frame_\d{3,}\.ply"
COMPACT = ".glb.gz"
MOMENT_SUFFIXES = (".glb", ".ply")
SCENE_SUFFIXES = (".html", COMPACT, ".glb", ".4dgs", ".ply", ".safetensors")
TRANSFORMS = "transforms.json"
_EXPECTED = (
    f"expected a name in {', '.join((*SCENE_SUFFIXES, *SUFFIXES))}, DIR/{TRANSFORMS} for frames with cameras, or one "
    "without suffix for a folder of PLY files"
)


def export_scene(
    scene: str | Path | Gaussians4D,
    out: str | Path,
    *,
    frames: int = 24,
    size: int = 256,
    time: float = 0.0,
    transparent: bool = False,
    up: str = "z",
    source_up: str | None = None,
) -> Path:
    """Write a scene for other programs; the suffix of `out` decides.

    `.html`: a page that plays. `.glb.gz`: what it holds, glTF whose morph targets are the motion (docs/format.md).
    `.4dgs`: motion over `frames` times. `.glb` (KHR_gaussian_splatting, y up), `.ply`: the moment `time` in [0, 1].
    `.safetensors`: a scene of ours. `.mp4`, `.gif`, `.webp`, `.webm`, `.mov`: turntable of `frames` frames, `size` pixels a
    side, `transparent` or on white. `DIR/transforms.json`: the turntable's RGBA frames, depths and cameras, as `load_clip`
    reads them. No suffix: a folder with one 3DGS PLY for each of `frames` times.

    Args:
        scene: a Gaussians4D, or whatever `imports.scenes.load_gaussians` reads.
        up: the axis that points up in PLY files: z, y or y-down. source_up: the same of `scene`; None is what it says, else z.
    Raises InputError for an unreadable scene, another suffix, or an `out` that cannot be written.
    """
    out = Path(out)
    suffix = _suffix(out)
    target = out.parent if out.name == TRANSFORMS else out
    turned_up = check_up(up, argument="--up")
    _check(out, frames=frames, size=size, time=time, transparent=transparent, up=turned_up)
    if out.name == TRANSFORMS:
        check_replaceable(target, files=CLIP_FILES, argument="OUT")
    elif not out.suffix:
        check_replaceable(out, files=PLY_FILES, argument="OUT")
    read_up = None if source_up is None else check_up(source_up, argument="--source-up")
    loaded = load_gaussians(scene, up=read_up) if isinstance(scene, str | Path) else scene
    with created_parents_removed_on_error(target):
        ensure_writable_parent(target)
        match suffix:
            case ".html":
                write_html(loaded, out, frames=frames, title=out.stem)
            case ".glb.gz":
                write_compact(loaded, out, frames=frames)
            case ".glb":
                write_glb(_moment(loaded, time), out, name=out.stem, extras={"time": time})
            case ".4dgs":
                write_4dgs(loaded, out, frames=frames, seconds=frames / PLAYBACK_FPS)
            case ".ply":
                write_ply(_moment(loaded, time), out, up=turned_up)
            case ".safetensors":
                save_scene(loaded, out)
            case ".json":
                save_clip(turntable(loaded, frames=frames, size=size), target)
            case "":
                write_ply_sequence(loaded, out, frames=frames, up=turned_up)
            case _ if transparent:
                clip = turntable(loaded, frames=frames, size=size)
                write_video(torch.cat([clip.rgb, clip.alpha], dim=1), out, fps=PLAYBACK_FPS)
            case _:
                write_video(render_turntable(loaded, frames=frames, size=size), out, fps=PLAYBACK_FPS)
    return out


def _check(out: Path, *, frames: int, size: int, time: float, transparent: bool, up: Up) -> None:
    """Raises InputError for settings out of range, and for those that `out` cannot hold."""
    suffix = _suffix(out)
    if not 2 <= frames <= 1024:
        raise InputError(f"--frames: expected 2 to 1024, got {frames}")
    if not 16 <= size <= 2048:
        raise InputError(f"--size: expected 16 to 2048 pixels, got {size}")
    if not 0 <= time <= 1:
        raise InputError(f"--time: expected a number in [0, 1], got {time}")
    if suffix not in (*SCENE_SUFFIXES, *SUFFIXES, "") and out.name != TRANSFORMS:
        raise InputError(f"{out}: {_EXPECTED}")
    if suffix in SUFFIXES or out.name == TRANSFORMS:
        check_pixels(frames=frames, size=size)
    check_alpha(out, transparent=transparent)
    if transparent and suffix not in SUFFIXES:
        raise InputError(f"--transparent: it is for videos ({', '.join(SUFFIXES)}), got {out}; leave it out")
    if time and suffix not in MOMENT_SUFFIXES:
        raise InputError(f"--time: it is for one moment ({', '.join(MOMENT_SUFFIXES)}), got {out}; leave it out")
    if up != "z" and suffix not in (".ply", ""):
        raise InputError(f"--up: it is for PLY files, got {out}; leave it out (.glb and .4dgs are y up by their rules)")
    if out.suffix and out.is_dir():
        raise InputError(f"{out}: is a folder, expected a file name; choose another name")


def _suffix(out: Path) -> str:
    return COMPACT if out.name.lower().endswith(COMPACT) else out.suffix.lower()


@torch.no_grad()
def _moment(scene: Gaussians4D, time: float) -> Gaussians:
    return scene.at(time).detach()
