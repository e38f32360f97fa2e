"""gsplat's CUDA kernels against our C++ core: agreement of images and gradients, and milliseconds.

    PYTHONPATH=src:benchmarks:tests python benchmarks/gpu/rasterizer.py --out benchmarks/results/gpu_rasterizer.json

The scenes are those of `benchmarks/kernels.py`, larger ones added. `rgb`, `alpha`, `depth`: largest differences, but for the
worst thousandth of the pixels (both cut alpha off at 1/255; gsplat clamps it at 0.99, the core at 0.999); gradients: relative
difference in norm. With `--device cpu` the readable PyTorch twin stands in for gsplat.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from kernels import scene
from shared import write_report
from torch import Tensor

from orbit4d.cameras import Orbit
from orbit4d.splat.gaussians import Gaussians
from orbit4d.splat.rasterize import Backend, Rendering, render

CELLS = ((10_000, 128), (10_000, 256), (50_000, 256), (30_000, 512), (200_000, 512))
TINY = ((300, 32),)


@dataclass(kw_only=True)
class Arguments:
    out: Path | None = None
    """JSON report; printed only when left out."""
    device: str = "cuda"
    repeats: int = 20


def drawn(count: int, size: int, device: str, backend: Backend) -> tuple[Rendering, dict[str, Tensor]]:
    g = Gaussians(**{k: v.detach().to(device).requires_grad_() for k, v in vars(scene(count)).items()})
    view = Orbit(frames=8, radius=2.5, fov_deg=49.0).cameras(size)[1:2].to(device)
    image = render(g, view, backend=backend)
    weight = torch.linspace(0.5, 1.5, size, device=device)
    ((image.rgb * weight).sum() + (image.alpha * weight).sum()).backward()
    gradients = {k: v.grad.cpu() for k, v in vars(g).items() if v.grad is not None}
    return image, gradients


def milliseconds(count: int, size: int, device: str, backend: Backend, repeats: int) -> float:
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        drawn(count, size, device, backend)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - started))
    return round(statistics.median(times[2:]), 2)


def difference(a: Tensor, b: Tensor) -> float:
    return round(float((a.detach().cpu() - b.detach().cpu()).abs().flatten().quantile(0.999)), 6)


def main(arguments: Arguments) -> None:
    gpu = arguments.device == "cuda"
    backend: Backend = "cuda" if gpu else "reference"
    cells = []
    for count, size in CELLS if gpu else TINY:
        (ours, our_gradients), (theirs, gradients) = (
            drawn(count, size, "cpu", "cpu"),
            drawn(count, size, arguments.device, backend),
        )
        cell: dict = {"gaussians": count, "size": size}
        cell |= {name: difference(getattr(ours, name), getattr(theirs, name)) for name in ("rgb", "alpha", "depth")}
        for name, expected in our_gradients.items():
            cell[f"grad_{name}"] = round(float((gradients[name] - expected).norm() / expected.norm()), 6)
        cell["ms"] = milliseconds(count, size, arguments.device, backend, arguments.repeats if gpu else 2)
        cell["cpu_ms"] = milliseconds(count, size, "cpu", "cpu", 3)
        cells.append(cell)
        print(cell, flush=True)
    name = torch.cuda.get_device_name() if gpu else "cpu"
    write_report(arguments.out, {"benchmark": "rasteriser on a GPU", "device": name, "cells": cells})


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
