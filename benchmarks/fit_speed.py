"""How fast a construction goes: optimisation steps a second, and seconds from the first step to the last.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/fit_speed.py --out benchmarks/results/fit_speed.json

Clips of the tests' swinging arm (no asset, no OpenGL), a moving and a static orbit of 24 frames, 10,000 Gaussians. A step draws
`frames` frames: 1, as most codes do, and the default of its size. Rates are of the fine stage at full size, the dearest part;
`seconds` is a whole default construction of a size from clip to scene.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from shared import write_report
from splat_fixtures import moving_orbit, static_orbit

from orbit4d.splat.fit import FitConfig, Trainer, fit


@dataclass(kw_only=True)
class Arguments:
    out: Path | None = None
    """JSON report; printed only when left out."""
    sizes: tuple[int, ...] = (128, 256)
    steps: int = 120


def main(arguments: Arguments) -> None:
    cells, stamps = [], []
    advance = Trainer._advance

    def stamped(self: Trainer) -> dict | None:
        stamps.append(time.perf_counter())
        return advance(self)

    Trainer._advance = stamped  # type: ignore[method-assign]
    for size in arguments.sizes:
        clips = moving_orbit(size, 24), static_orbit(size, 24)
        default = FitConfig.for_size(size)
        for frames in (1, default.frames_per_step):
            config = replace(
                default,
                steps=arguments.steps,
                gaussians=10_000,
                frames_per_step=frames,
                half_size_share=0.0,
                widen_share=0.0,
            )
            stamps.clear()
            fit(clips[0], static_clip=clips[1], config=config, progress=False)
            fine = stamps[int(config.coarse_share * config.steps) + 1 :]
            rate = (len(fine) - 1) / (fine[-1] - fine[0])
            cells.append({"size": size, "frames": frames, "steps_per_second": round(rate, 1)})
            cells[-1]["frames_per_second"] = round(frames * rate, 1)
            print(cells[-1], flush=True)
        seconds = fit(clips[0], static_clip=clips[1], config=default, progress=False).seconds
        cells.append(
            {"size": size, "steps": default.steps, "gaussians": default.gaussians, "seconds": round(seconds, 1)}
        )
        print(cells[-1], flush=True)
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    write_report(arguments.out, {"benchmark": "speed of construction", "cells": cells, "peak_memory_gib": peak})


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
