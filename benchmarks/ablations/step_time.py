"""What a training step of each variant costs relative to the base, measured in turns so that a busy machine is fair to all.

python benchmarks/ablations/step_time.py --latents LATENTS --out OUT/step_times.json
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from held_out import Task, sample_batch, split_clips
from variants import VARIANTS

from orbit4d.diffusion.batches import LatentSet
from orbit4d.diffusion.objective import losses
from orbit4d.diffusion.train_denoiser import DenoiserConfig
from orbit4d.diffusion.training import Optimizers
from orbit4d.files import atomic_path

SMALL = {"spatial_width": 224, "temporal_width": 128, "depth": 6, "spatial_heads": 4, "temporal_heads": 2}


@dataclass(kw_only=True)
class Arguments:
    latents: Path
    out: Path
    task: Task = "orbit"
    variants: tuple[str, ...] = tuple(VARIANTS)
    small: bool = False
    """Widths and depth of the shipped model in place of `XS`."""
    repeats: int = 12
    threads: int = 1


def main(a: Arguments) -> None:
    """CPU seconds of this process, not the clock's: other processes take the cores, not the count."""
    torch.set_num_threads(a.threads)
    data = LatentSet(a.latents)
    split, config = split_clips(data), DenoiserConfig()
    variants = {name: VARIANTS[name] for name in a.variants}
    if a.small:
        variants = {name: replace(v, model=SMALL | v.model) for name, v in variants.items()}
    models = {name: v.build() for name, v in variants.items()}
    optimizers = {name: Optimizers(m, lr=1e-4, muon=VARIANTS[name].muon) for name, m in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in a.variants}
    for repeat in range(a.repeats + 1):
        for name, model in models.items():
            generator = torch.Generator().manual_seed(repeat)
            batch = sample_batch(data, split, VARIANTS[name], a.task, generator)
            start = time.process_time()
            flow, motion = losses(
                model, *batch, noise_shift=config.noise_shift, m_scale=data.m_scale, generator=generator
            )
            (flow + VARIANTS[name].motion_weight * motion).backward()
            optimizers[name].step(1.0)
            if repeat:  # the first warms up
                seconds[name].append(time.process_time() - start)
    base = statistics.median(seconds["base"])
    report = {
        name: {
            "parameters": sum(p.numel() for p in models[name].parameters()),
            "cpu_seconds": round(statistics.median(s), 4),
            "relative": round(statistics.median(s) / base, 3),
        }
        for name, s in seconds.items()
    }
    with atomic_path(a.out) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
