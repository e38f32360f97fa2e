"""Construct the Diffusion4D sample elk from its two orbits and score it on the unseen front view.

    python benchmarks/elk.py --out benchmarks/results/elk.json

Training: `transforms_multi.json` and `transforms_multi_static.json`. Test: `transforms_front.json` without frames 0, 1
and 23, which coincide with training frames: 21 frames, 256 x 256, on white, raw (no brightness correction).
The images may not be redistributed, so comparison pictures go to a separate folder that is not committed.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image

from orbit4d.clip import OrbitalClip, load_clip
from orbit4d.evaluate.metrics import foreground_psnr, psnr, ssim
from orbit4d.files import atomic_path
from orbit4d.splat.fit import FitConfig, fit
from orbit4d.splat.gaussians import Gaussians4D
from orbit4d.splat.io import save_scene
from orbit4d.splat.rasterize import render

SEEN = {0, 1, 23}
"""Front frames that coincide with training frames."""
REFERENCE = {"whole_psnr": 22.67, "foreground_psnr": 16.93, "ssim": 0.879, "seconds": 720}
"""The public 4DGaussians code on the same frames."""


@dataclass(kw_only=True)
class Arguments:
    data: Path = Path(os.environ.get("ORBIT4D_DATA", Path(__file__).parents[2] / "shared" / "data")) / "elk"
    """Folder with the elk's frames and transforms."""
    out: Path | None = None
    """JSON report; printed only when left out."""
    pictures: Path | None = None
    """Folder for comparison PNGs (top: prediction, bottom: truth) and the scene."""
    static: bool = True
    """Use the static orbit too; --no-static constructs from the moving orbit alone."""
    seeds: tuple[int, ...] = (0,)
    """One construction a seed."""
    config: FitConfig = field(default_factory=lambda: FitConfig.for_size(256))


def main(arguments: Arguments) -> None:
    moving = load_clip(arguments.data / "transforms_multi.json")
    still = load_clip(arguments.data / "transforms_multi_static.json") if arguments.static else None
    front = load_clip(arguments.data / "transforms_front.json")
    test = front[[i for i in range(len(front)) if i not in SEEN]]
    runs = []
    for seed in arguments.seeds:
        cpu_started = time.process_time()
        result = fit(moving, static_clip=still, config=replace(arguments.config, seed=seed))
        cpu_seconds = round(time.process_time() - cpu_started, 1)
        scores = score(result.scene, test)
        runs.append(
            {
                "seed": seed,
                "seconds": round(result.seconds, 1),
                "cpu_seconds": cpu_seconds,
                **scores,
                "train": result.history[-1],
            }
        )
        print(json.dumps(runs[-1]))
        if arguments.pictures is not None:
            write_pictures(result.scene, test, arguments.pictures / f"seed{seed}")
            save_scene(result.scene, arguments.pictures / f"seed{seed}.safetensors")
    figures = ("whole_psnr", "foreground_psnr", "ssim", "seconds", "cpu_seconds")
    report = {
        "benchmark": "elk: moving orbit" + (" + static orbit" if arguments.static else "") + " -> front view",
        "frames": len(test),
        "mean": {name: round(sum(run[name] for run in runs) / len(runs), 4) for name in figures},
        "reference_4dgaussians": REFERENCE,
        "runs": runs,
        "config": asdict(arguments.config),
        "hardware": {"cpu": cpu_name(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "versions": {"python": sys.version.split()[0], "torch": torch.__version__, "numpy": np.__version__},
        "date": time.strftime("%Y-%m-%d"),
    }
    print(json.dumps(report["mean"]))
    if arguments.out is not None:
        with atomic_path(arguments.out) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + "\n")


@torch.no_grad()
def score(scene: Gaussians4D, test: OrbitalClip) -> dict[str, float]:
    prediction, truth = predict(scene, test), test.on_background(1.0)
    return {
        "whole_psnr": round(float(psnr(prediction, truth).mean()), 3),
        "foreground_psnr": round(float(foreground_psnr(prediction, truth, test.alpha).mean()), 3),
        "ssim": round(float(ssim(prediction, truth).mean()), 4),
    }


@torch.no_grad()
def predict(scene: Gaussians4D, clip: OrbitalClip) -> torch.Tensor:
    """(t, 3, h, w) renders of the clip's views at its times, on white."""
    frames = [render(scene.at(float(t)), clip.cameras[i : i + 1], background=1.0).rgb for i, t in enumerate(clip.times)]
    return torch.cat(frames).clamp(0, 1)


def write_pictures(scene: Gaussians4D, clip: OrbitalClip, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pair = torch.cat([predict(scene, clip), clip.on_background(1.0)], dim=2)
    rows = [torch.cat(list(part), dim=-1) for part in pair[::3].split(4)]
    width = max(row.shape[-1] for row in rows)
    rows = [torch.nn.functional.pad(row, (0, width - row.shape[-1]), value=1.0) for row in rows]
    array = (torch.cat(rows, dim=1) * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(array).save(folder / "front.png")


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
