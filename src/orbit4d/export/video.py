"""Videos of camera paths: MP4, GIF, animated WebP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..files import atomic_path
from ..splat.gaussians import Gaussians4D
from ..splat.rasterize import render
from .home import home_view

SUFFIXES = (".mp4", ".gif", ".webp")


def write_video(frames: Tensor, path: str | Path, *, fps: float = 12) -> Path:
    """Write (t, 3, h, w) frames in [0, 1] as .mp4 (H.264, sides padded to even), .gif or .webp."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path}: expected a video name ending in {', '.join(SUFFIXES)}, got {path.suffix or 'no suffix'!r}"
        )
    if frames.ndim != 4 or frames.shape[1] != 3 or not len(frames):
        raise ValueError(f"frames must have shape (t, 3, h, w) with t >= 1, got {tuple(frames.shape)}")
    array = (frames.detach().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".mp4":
            _write_mp4(array, temporary, fps)
        else:
            _write_animation(array, temporary, fps)
    return path


def _write_mp4(array: np.ndarray, path: Path, fps: float) -> None:
    import imageio.v2 as imageio

    _, h, w, _ = array.shape
    padded = np.pad(array, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    writer: Any = imageio.get_writer(
        str(path),
        format="FFMPEG",
        fps=fps,
        codec="libx264",
        quality=8,
        macro_block_size=1,
        pixelformat="yuv420p",
        ffmpeg_log_level="error",
    )
    with writer:
        for frame in padded:
            writer.append_data(frame)


def _write_animation(array: np.ndarray, path: Path, fps: float) -> None:
    from PIL import Image

    images = [Image.fromarray(frame) for frame in array]
    options: dict[str, Any] = {"quality": 85} if path.suffix.lower() == ".webp" else {"optimize": False}
    images[0].save(path, save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0, **options)


@torch.no_grad()
def render_turntable(scene: Gaussians4D, *, frames: int = 48, size: int = 256, background: float = 1.0) -> Tensor:
    """(frames, 3, size, size) in [0, 1]: one turn around the scene (`home_view`) while its time runs from 0 to 1."""
    cameras, times = home_view(scene).orbit(frames, size)
    images = [
        render(scene.at(float(t)).detach(), cameras[i : i + 1], background=background).rgb for i, t in enumerate(times)
    ]
    return torch.cat(images).clamp(0, 1)
