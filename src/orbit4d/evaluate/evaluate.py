"""A scene scored against a clip: rendered at the clip's cameras and times, compared frame by frame on white."""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch
from torch import Tensor

from ..cameras import Cameras
from ..clip import OrbitalClip
from ..errors import InputError
from ..files import atomic_folder
from ..outputs import check_replaceable
from ..report import hardware, versions
from ..splat.gaussians import Gaussians4D
from .metrics import SSIM_WINDOW, composite, foreground_psnr, motion_magnitude, psnr, ssim

OPAQUE = 0.999
"""A clip whose alpha is nowhere below this has no alpha channel: nobody knows what of it is foreground."""
METRICS = ("psnr", "foreground_psnr", "ssim")
NO_ALPHA = "the clip has no alpha channel (it is opaque everywhere), so its foreground PSNR is not available"
FRAME_FILES = r"(pred|gt)_\d{3,}\.png"


def parse_frames(text: str, count: int) -> list[int]:
    """Frame numbers from "2-22" (inclusive), "0,5,9", or a mixture "0,4-7", for a clip of `count` frames.

    Raises InputError for anything else and for numbers outside the clip.
    """
    frames: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None:
            raise InputError(f"--frames: expected numbers and inclusive ranges such as 2-22 or 0,4-7, got {text!r}")
        first = int(match.group(1))
        last = int(match.group(2) or first)
        if last < first:
            raise InputError(f"--frames: the range {part.strip()} runs backwards; write {last}-{first}")
        if last >= count:
            raise InputError(f"--frames: {part.strip()} is outside the clip, whose frames are 0-{count - 1}")
        frames.extend(range(first, last + 1))
    return list(dict.fromkeys(frames))


@torch.no_grad()
def render_scene(scene: Gaussians4D, cameras: Cameras, times: Tensor) -> tuple[Tensor, Tensor]:
    """The scene on white at t (camera, time) pairs: images (t, 3, h, w) in [0, 1] and alpha (t, 1, h, w)."""
    from ..splat.rasterize import render

    images, alphas = [], []
    for i in range(len(cameras)):
        frame = render(scene.at(float(times[i])), cameras[i : i + 1], background=1.0)
        images.append(frame.rgb)
        alphas.append(frame.alpha)
    return torch.cat(images).clamp(0, 1), torch.cat(alphas)


def evaluate_scene(
    scene: Gaussians4D,
    clip: OrbitalClip,
    *,
    frames: slice | list[int] | str | None = None,
    save_frames: str | Path | None = None,
) -> dict:
    """Score `scene` on the frames of `clip` at the clip's resolution.

    Args:
        frames: which frames of the clip count: a slice, a list, a text such as "2-22" (inclusive), or None for all.
        save_frames: folder for `pred_000.png`, `gt_000.png`... on white, numbered by the clip's frames; it must be new,
            empty or one that this function wrote.

    Returns: a JSON-ready dict: `mean` and `frames` (psnr and foreground_psnr in dB, ssim; a figure is None where it is
    not defined: no foreground pixel, a clip without alpha, or identical images), `samples`, `notes`, `resolution`,
    `versions`, `hardware`. `mean` averages the per-frame figures that are defined; `samples` counts them.
    """
    numbers = _frame_numbers(frames, len(clip))
    if min(clip.rgb.shape[-2:]) < SSIM_WINDOW:
        raise InputError(
            f"clip: frames of at least {SSIM_WINDOW} pixels a side are needed, got {tuple(clip.rgb.shape[-2:])}"
        )
    if save_frames is not None:
        check_replaceable(save_frames, files=FRAME_FILES, argument="--save-frames")
    chosen = clip[numbers]
    target = composite(chosen.rgb, chosen.alpha)
    prediction, _ = render_scene(scene, chosen.cameras, chosen.times)
    scores = {
        "psnr": psnr(prediction, target).tolist(),
        "foreground_psnr": _foreground_scores(prediction, target, clip, chosen.alpha),
        "ssim": ssim(prediction, target).tolist(),
    }
    if save_frames is not None:
        _write_frames(Path(save_frames), numbers, prediction, target)
    return {
        "mean": {name: _mean(scores[name]) for name in METRICS},
        "samples": {name: sum(map(math.isfinite, scores[name])) for name in METRICS},
        "frames": [
            {"frame": number, "time": _rounded(float(chosen.times[i])), **{m: _rounded(scores[m][i]) for m in METRICS}}
            for i, number in enumerate(numbers)
        ],
        "notes": [NO_ALPHA] if _is_opaque(clip) else [],
        "resolution": [clip.cameras.width, clip.cameras.height],
        "background": "white",
        "gaussians": len(scene.canonical),
        "versions": versions(),
        "hardware": hardware(),
    }


@torch.no_grad()
def input_scores(scene: Gaussians4D, clip: OrbitalClip) -> dict[str, float | None]:
    """How well a scene repeats the very clip that it was fit to (mean PSNRs in dB), and its own motion magnitude m."""
    target = composite(clip.rgb, clip.alpha)
    moving, _ = render_scene(scene, clip.cameras, clip.times)
    frozen, _ = render_scene(scene, clip.cameras, torch.zeros_like(clip.times))
    return {
        "input_psnr": _mean(psnr(moving, target).tolist()),
        "input_foreground_psnr": _mean(_foreground_scores(moving, target, clip, clip.alpha)),
        "motion_magnitude": float(motion_magnitude(moving, frozen)),
    }


def format_scores(report: dict) -> str:
    """The report of `evaluate_scene` as a table for people."""
    rows = [("frame", "time", "PSNR dB", "foreground dB", "SSIM")]
    for f in report["frames"]:
        rows.append(
            (str(f["frame"]), f"{f['time']:.3f}", _text(f["psnr"]), _text(f["foreground_psnr"]), _text(f["ssim"], 3))
        )
    mean = report["mean"]
    rows.append(("mean", "", _text(mean["psnr"]), _text(mean["foreground_psnr"]), _text(mean["ssim"], 3)))
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, (5, 6, 8, 13, 6), strict=True)) for row in rows]
    width, height = report["resolution"]
    lines.append(f"{len(report['frames'])} frames of {width} x {height} on white, {report['gaussians']} Gaussians")
    lines += [f"note: {note}" for note in report["notes"]]
    return "\n".join(lines)


def _frame_numbers(frames: slice | list[int] | str | None, count: int) -> list[int]:
    match frames:
        case None:
            numbers = list(range(count))
        case str():
            numbers = parse_frames(frames, count)
        case slice():
            numbers = list(range(count))[frames]
        case _:
            numbers = list(frames)
    if not numbers or not all(0 <= n < count for n in numbers):
        raise InputError(f"frames: expected some of the clip's frames 0-{count - 1}, got {frames!r}")
    return numbers


def _is_opaque(clip: OrbitalClip) -> bool:
    return bool((clip.alpha > OPAQUE).all())


def _foreground_scores(prediction: Tensor, target: Tensor, clip: OrbitalClip, alpha: Tensor) -> list[float]:
    """Per-frame PSNRs over the pixels that `alpha` (t, 1, h, w), of frames of `clip`, shows; NaN where undefined."""
    return [math.nan] * len(alpha) if _is_opaque(clip) else foreground_psnr(prediction, target, alpha).tolist()


def _write_frames(folder: Path, numbers: list[int], prediction: Tensor, target: Tensor) -> None:
    from PIL import Image

    with atomic_folder(folder) as temporary:
        for kind, images in (("pred", prediction), ("gt", target)):
            arrays = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
            for number, array in zip(numbers, arrays, strict=True):
                Image.fromarray(array).save(temporary / f"{kind}_{number:03d}.png")


def _mean(values: list[float]) -> float | None:
    """Of the values that are defined (finite); None where there are none."""
    defined = [v for v in values if math.isfinite(v)]
    return _rounded(sum(defined) / len(defined)) if defined else None


def _rounded(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None


def _text(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
