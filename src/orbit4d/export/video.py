"""Turntables: the frames with their cameras, and videos of them (MP4, GIF, animated WebP, WebM, MOV)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cameras import Cameras
from ..clip import OrbitalClip
from ..errors import InputError
from ..files import atomic_path
from ..splat.gaussians import Gaussians4D
from ..splat.rasterize import render
from .home import home_view

SUFFIXES = (".mp4", ".gif", ".webp", ".webm", ".mov")
ALPHA_SUFFIXES = (".gif", ".webp", ".webm", ".mov")
"""Containers that hold transparency; a .gif pixel is either opaque or empty."""
_CODECS: dict[tuple[str, bool], dict[str, Any]] = {
    (".mp4", False): {"codec": "libx264", "quality": 8, "pixelformat": "yuv420p"},
    (".mov", False): {"codec": "libx264", "quality": 8, "pixelformat": "yuv420p"},
    (".mov", True): {"codec": "prores_ks", "pixelformat": "yuva444p10le", "output_params": ["-profile:v", "4444"]},
    (".webm", False): {"codec": "libvpx-vp9", "quality": 8, "pixelformat": "yuv420p"},
    # Frames of reference that are never shown have no alpha: they must be off.
    (".webm", True): {"codec": "libvpx-vp9", "pixelformat": "yuva420p", "output_params": ["-auto-alt-ref", "0"]},
}
_CLEAR = 255
"""Palette index of what is empty in a GIF."""


def write_video(frames: Tensor, path: str | Path, *, fps: float = 12) -> Path:
    """Write frames in [0, 1]: (t, 3, h, w), or (t, 4, h, w) straight RGBA where the container has alpha.

    .mp4 and .mov: H.264 (with alpha ProRes 4444 in .mov); .webm: VP9; sides padded to even. .gif: 256 colours. .webp: lossy,
    alpha exact. Raises InputError for another suffix, and for alpha where there can be none.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"{path}: expected a video name ending in {', '.join(SUFFIXES)}, got {path.suffix or 'no suffix'!r}"
        )
    if frames.ndim != 4 or frames.shape[1] not in (3, 4) or not len(frames):
        raise ValueError(f"frames must have shape (t, 3 or 4, h, w) with t >= 1, got {tuple(frames.shape)}")
    check_alpha(path, transparent=frames.shape[1] == 4)
    array = (frames.detach().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    with atomic_path(path) as temporary:
        if (suffix, array.shape[3] == 4) in _CODECS:
            _write_encoded(array, temporary, fps)
        else:
            _write_animation(array, temporary, fps)
    return path


def check_alpha(path: Path, *, transparent: bool) -> None:
    """Raises InputError when a transparent background is asked of a container that has none."""
    if transparent and path.suffix.lower() in SUFFIXES and path.suffix.lower() not in ALPHA_SUFFIXES:
        raise InputError(
            f"{path}: {path.suffix} holds no transparency; expected one of {', '.join(ALPHA_SUFFIXES)} for a "
            "transparent background"
        )


def _write_encoded(array: np.ndarray, path: Path, fps: float) -> None:
    import imageio.v2 as imageio

    _, h, w, channels = array.shape
    padded = np.pad(array, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    options = _CODECS[path.suffix.lower(), channels == 4]
    writer: Any = imageio.get_writer(
        str(path), format="FFMPEG", fps=fps, macro_block_size=1, ffmpeg_log_level="error", **options
    )
    with writer:
        for frame in padded:
            writer.append_data(frame)


def _write_animation(array: np.ndarray, path: Path, fps: float) -> None:
    from PIL import Image

    images = [Image.fromarray(frame) for frame in array]
    options: dict[str, Any] = {"quality": 85, "exact": True}
    if path.suffix.lower() == ".gif":
        options = {"optimize": False}
        if array.shape[3] == 4:
            images = [_with_clear_index(frame) for frame in array]
            options |= {"transparency": _CLEAR, "disposal": 2}
    images[0].save(path, save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0, **options)


def _with_clear_index(frame: np.ndarray) -> Any:
    """A palette picture of 255 colours and one index for what is less than half covered."""
    from PIL import Image

    empty = frame[..., 3] < 128
    opaque = np.where(empty[..., None], 0, frame[..., :3])
    picture = Image.fromarray(opaque.astype(np.uint8)).quantize(_CLEAR, dither=Image.Dither.NONE)
    indices = np.asarray(picture).copy()
    indices[empty] = _CLEAR
    palette = (picture.getpalette() or [])[: 3 * _CLEAR]
    out = Image.fromarray(indices, mode="P")
    out.putpalette(palette + [0] * (3 * 256 - len(palette)))
    out.info["transparency"] = _CLEAR
    return out


@torch.no_grad()
def turntable(scene: Gaussians4D, *, frames: int = 48, size: int = 256) -> OrbitalClip:
    """One turn around the scene (`home_view`) while its time runs from 0 to 1: straight RGBA, depth and cameras. The frame after
    the last would be the first again, so that nothing stands still where it starts over."""
    cameras, times = _turn(scene, frames, size)
    seen = [render(scene.at(float(t)).detach(), cameras[i : i + 1]) for i, t in enumerate(times)]
    alpha = torch.cat([s.alpha for s in seen]).clamp(0, 1)
    rgb = torch.cat([s.rgb for s in seen]) / alpha.clamp_min(1e-4)
    depth = torch.cat([s.depth for s in seen])
    return OrbitalClip(rgb=rgb.clamp(0, 1) * (alpha > 1e-4), alpha=alpha, cameras=cameras, times=times, depth=depth)


@torch.no_grad()
def render_turntable(scene: Gaussians4D, *, frames: int = 48, size: int = 256, background: float = 1.0) -> Tensor:
    """(frames, 3, size, size) in [0, 1]: the pictures of `turntable` on a background."""
    cameras, times = _turn(scene, frames, size)
    images = [
        render(scene.at(float(t)).detach(), cameras[i : i + 1], background=background).rgb for i, t in enumerate(times)
    ]
    return torch.cat(images).clamp(0, 1)


def _turn(scene: Gaussians4D, frames: int, size: int) -> tuple[Cameras, Tensor]:
    cameras, times = home_view(scene).orbit(frames + 1, size)
    return cameras[:frames], times[:frames]
