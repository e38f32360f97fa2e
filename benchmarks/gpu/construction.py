"""A whole construction on the GPU: an animated toy's moving and static orbit to a scene, scored on a view of neither.

    PYTHONPATH=src:benchmarks:tests python benchmarks/gpu/construction.py --out benchmarks/results/gpu_construction.json

The clips are drawn by our own rasteriser from a swinging arm of Gaussians (tests/splat_fixtures.py), so that no OpenGL and no
asset is needed. Target: ten seconds at 512 pixels with 30,000 Gaussians.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from shared import score, write_report
from splat_fixtures import front_view, moving_orbit, static_orbit

from orbit4d.splat.fit import FitConfig, fit


@dataclass(kw_only=True)
class Arguments:
    out: Path | None = None
    """JSON report; printed only when left out."""
    device: str = "cuda"
    size: int = 512
    gaussians: int = 30_000
    steps: int = 1200


def main(arguments: Arguments) -> None:
    clips = [make(arguments.size, 24) for make in (moving_orbit, static_orbit, front_view)]
    config = replace(FitConfig.for_size(arguments.size, arguments.steps), gaussians=arguments.gaussians)
    started = time.perf_counter()
    result = fit(clips[0], static_clip=clips[1], config=config, device=arguments.device)
    seconds = round(time.perf_counter() - started, 1)
    gpu = arguments.device == "cuda"
    report = {
        "benchmark": "construction on a GPU",
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "size": arguments.size,
        "gaussians": arguments.gaussians,
        "steps": arguments.steps,
        "seconds": seconds,
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if gpu else None,
        "train_psnr": result.history[-1]["psnr"],
        "front": score(result.scene, clips[2]),
    }
    write_report(arguments.out, report)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
