"""Construct the Diffusion4D sample elk from its two orbits and score it on the unseen front view.

    python benchmarks/elk.py --out benchmarks/results/elk.json

Training: `transforms_multi.json` and `transforms_multi_static.json`. Test: `transforms_front.json` without frames 0, 1
and 23, which coincide with training frames: 21 frames, 256 x 256, on white, raw (no brightness correction).
The images may not be redistributed, so comparison pictures go to a separate folder that is not committed.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import tyro
from shared import DATA, row, save_sheet, scene_row, score, write_report

from orbit4d.clip import OrbitalClip, load_clip
from orbit4d.splat.fit import FitConfig, fit
from orbit4d.splat.gaussians import Gaussians4D
from orbit4d.splat.io import save_scene

SEEN = {0, 1, 23}
"""Front frames that coincide with training frames."""
REFERENCE = {"whole_psnr": 22.67, "foreground_psnr": 16.93, "ssim": 0.879, "seconds": 720}
"""The public 4DGaussians code on the same frames."""


@dataclass(kw_only=True)
class Arguments:
    data: Path = DATA / "elk"
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
            write_pictures(result.scene, test, arguments.pictures / f"seed{seed}.png")
            save_scene(result.scene, arguments.pictures / f"seed{seed}.safetensors")
    figures = ("whole_psnr", "foreground_psnr", "ssim", "seconds", "cpu_seconds")
    report = {
        "benchmark": "elk: moving orbit" + (" + static orbit" if arguments.static else "") + " -> front view",
        "frames": len(test),
        "mean": {name: round(sum(run[name] for run in runs) / len(runs), 4) for name in figures},
        "reference_4dgaussians": REFERENCE,
        "runs": runs,
        "config": asdict(arguments.config),
    }
    print(json.dumps(report["mean"]))
    write_report(arguments.out, report)


def write_pictures(scene: Gaussians4D, clip: OrbitalClip, path: Path) -> None:
    """Every third front frame: construction above, truth below."""
    shown = list(range(0, len(clip), 3))
    save_sheet([scene_row(scene, clip, shown), row(clip.on_background(), shown)], path)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
