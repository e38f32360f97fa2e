"""What `orbit4d train` costs beside a plain loop of the same model, and what torch.compile and gradient checkpointing change.

python benchmarks/training_speed.py --latents RUN/latents --out benchmarks/results/training_speed.json

Steps of all loops take turns in one process, so that a busy machine is fair to all of them.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from shared import write_report
from torch import nn

from orbit4d.diffusion.batches import LatentSet, sample_batch
from orbit4d.diffusion.denoiser import Denoiser
from orbit4d.diffusion.machine import chosen_dtype
from orbit4d.diffusion.objective import losses
from orbit4d.diffusion.presets import PRESETS
from orbit4d.diffusion.train_denoiser import DenoiserBatch, DenoiserConfig, DenoiserTask
from orbit4d.diffusion.trainer import fit
from orbit4d.diffusion.training import EMA, Optimizers
from orbit4d.report import peak_memory_mib


@dataclass(kw_only=True)
class Arguments:
    latents: Path
    out: Path | None = None
    preset: Literal["tiny", "xs", "s", "m"] = "s"
    batch: int | None = None
    """Samples of a step; the preset's when absent."""
    repeats: int = 8
    """Steps of each loop that count; two more warm up."""
    threads: int = 2
    compile: bool = True


class Clock:
    """Wall and CPU seconds of the blocks between `start` and `stop`."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def start(self) -> None:
        self.began = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        wall, cpu = self.began
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)

    def report(self, *, samples: int, warm_up: int) -> dict[str, float]:
        wall, cpu = statistics.median(self.wall[warm_up:]), statistics.median(self.cpu[warm_up:])
        return {
            "samples_per_second": round(samples / wall, 3),
            "wall_seconds": round(wall, 3),
            "cpu_seconds": round(cpu, 3),
            "samples_per_cpu_second": round(samples / cpu, 3),
            "first_step_seconds": round(self.wall[0], 1),
        }


def plain_loop(model: Denoiser, network: nn.Module, data: LatentSet, config: DenoiserConfig) -> Callable[[], None]:
    """One step of the loop that anyone would write."""
    ema, optimizers = EMA(model, config.ema), Optimizers(model, lr=config.lr, muon=config.muon)
    generator = torch.Generator().manual_seed(config.seed)
    dtype = chosen_dtype("auto", torch.device("cpu"))

    def step() -> None:
        x0, still, conditions, reference = sample_batch(data, config, generator)
        conditions.active = (~conditions.static_mode).nonzero()[:, 0] if conditions.static_mode is not None else None
        flow, motion = losses(
            network,
            x0,
            still,
            conditions,
            reference,
            noise_shift=config.noise_shift,
            m_scale=data.m_scale,
            generator=generator,
            dtype=dtype,
        )
        (flow + config.motion_weight * motion).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(1.0)
        ema.update(model)

    return step


class Turns(DenoiserTask):
    """The trainer's task, whose batches are drawn after every other loop has made its step off the trainer's clock."""

    loops: dict[str, Callable[[], None]]
    clocks: dict[str, Clock]

    def draw(self, generator: torch.Generator, part: slice) -> DenoiserBatch:
        own = self.clocks["trainer"]
        if hasattr(own, "began"):
            own.stop()
        for name, loop in self.loops.items():
            self.clocks[name].start()
            loop()
            self.clocks[name].stop()
        own.start()
        return super().draw(generator, part)


def main(a: Arguments) -> None:
    """Print, or write to --out, samples per second of the trainer, of a plain loop, and of its variants."""
    torch.set_num_threads(a.threads)
    recipe, warm_up = PRESETS[a.preset](), 2
    data, config = LatentSet(a.latents), recipe.denoiser
    config.steps = a.repeats + warm_up + 1
    config.batch, config.save_every = a.batch or config.batch, config.steps
    models = {}
    for name in ("trainer", "plain", "checkpointed", *(["compiled"] if a.compile else [])):
        torch.manual_seed(config.seed)
        models[name] = recipe.make_denoiser()
    models["checkpointed"].enable_gradient_checkpointing()
    networks: dict[str, nn.Module] = dict(models)
    if a.compile:
        networks["compiled"] = torch.compile(models["compiled"])  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        task = Turns(data, config, models["trainer"], out=Path(folder), autoencoder=None)
        task.loops = {
            name: plain_loop(models[name], networks[name], data, config) for name in models if name != "trainer"
        }
        task.clocks = {name: Clock() for name in models}
        fit(task.model, task, Path(folder), config=config)
    results = {name: clock.report(samples=config.batch, warm_up=warm_up) for name, clock in task.clocks.items()}
    plain = task.clocks["plain"]
    for name, clock in task.clocks.items():
        count = min(len(clock.wall), len(plain.wall))
        for kind, own, other in (("wall", clock.wall, plain.wall), ("cpu", clock.cpu, plain.cpu)):
            ratios = [mine / theirs for mine, theirs in zip(own[warm_up:count], other[warm_up:count], strict=True)]
            results[name][f"{kind}_over_plain"] = round(statistics.median(ratios), 3)
    report = {
        "preset": a.preset,
        "parameters": sum(p.numel() for p in models["plain"].parameters()),
        "batch": config.batch,
        "frames": config.frames,
        "seed": config.seed,
        "steps_each": a.repeats,
        "precision": str(chosen_dtype("auto", torch.device("cpu"))).removeprefix("torch."),
        "loops": results,
        "peak_memory_mib": peak_memory_mib(),
    }
    write_report(a.out, report)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
