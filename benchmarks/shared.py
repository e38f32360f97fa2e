"""What the benchmark scripts share: where the data lie, scores, contact sheets, reports that say where they were measured."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from orbit4d.clip import OrbitalClip
from orbit4d.evaluate.evaluate import render_scene
from orbit4d.evaluate.metrics import foreground_psnr, psnr, ssim
from orbit4d.files import atomic_path
from orbit4d.report import hardware, versions
from orbit4d.splat.gaussians import Gaussians4D

DATA = Path(os.environ.get("ORBIT4D_DATA", Path(__file__).parents[2] / "shared" / "data"))
"""Third-party assets and images, kept out of the repository."""


def score(scene: Gaussians4D, clip: OrbitalClip) -> dict[str, float]:
    """Mean PSNR and SSIM on white and PSNR on the foreground of `scene` at the clip's cameras and times."""
    prediction, truth = render_scene(scene, clip.cameras, clip.times)[0], clip.on_background(1.0)
    return frame_scores(prediction, truth, clip.alpha)


def frame_scores(prediction: Tensor, truth: Tensor, alpha: Tensor) -> dict[str, float]:
    return {
        "whole_psnr": round(float(psnr(prediction, truth).mean()), 2),
        "foreground_psnr": round(float(foreground_psnr(prediction, truth, alpha).nanmean()), 2),
        "ssim": round(float(ssim(prediction, truth).mean()), 4),
    }


def row(frames: Tensor, shown: list[int]) -> Tensor:
    """(t, 3, h, w) -> one picture (3, h, len(shown) w)."""
    return torch.cat([frames[i] for i in shown], dim=-1)


def scene_row(scene: Gaussians4D, clip: OrbitalClip, shown: list[int]) -> Tensor:
    """`row` of the scene at the cameras and times of `clip`'s frames `shown`."""
    seen = clip[shown]
    return torch.cat(list(render_scene(scene, seen.cameras, seen.times)[0]), dim=-1)


def save_sheet(rows: list[Tensor], path: Path) -> None:
    """Rows (3, h, w) of one width, one below the other, as a PNG."""
    array = (torch.cat(rows, dim=1).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def write_report(path: Path | None, report: dict) -> None:
    """Print, and write beside-then-rename with the machine, its load and the versions."""
    report = report | {
        "hardware": hardware(),
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "versions": versions(),
        "date": time.strftime("%Y-%m-%d"),
    }
    text = json.dumps(report, indent=1) + "\n"
    if path is None:
        print(text)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(text)
