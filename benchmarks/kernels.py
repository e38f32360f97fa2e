"""Milliseconds of the CPU kernels, and ratios taken in one run.

    python benchmarks/kernels.py --out benchmarks/results/kernels.json

Rasteriser: forward + backward of n random Gaussians (means uniform in the unit ball, scales 0.01 to 0.03, opacities 0.1 to
0.9), one camera of an orbit at 2.5, field of view 49 degrees. `twin_ratio`: the readable PyTorch twin over the C++ core.
`two_threads`: one thread over two. `profile`: the same cell step by step on one thread, in processor time (least of the
repeats); `listed` pairs of a pixel and a Gaussian are in tile lists, of the `evaluated` ones alpha is computed,
`contributing` ones add to a pixel; cycles are those of the processor's nominal clock.
HexPlane: the features of default planes, forward + backward, at 10,000 points and one time (Gaussians), at 384 points and
13 times (control nodes); `torch_ratio`: PyTorch's `grid_sample` over the C++ core. Spherical harmonics: view colours of
degree 3, forward + backward, likewise.
The least of `--repeats` runs after a warm-up, which other work disturbs less than their median, and the two sides of a ratio
in turns; `twin_ratio` is of processor time, one thread each. Run on an idle machine: beside other work the gain of a second
thread is lost.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from shared import write_report

from orbit4d.cameras import Cameras, Orbit
from orbit4d.splat.gaussians import Gaussians
from orbit4d.splat.hexplane import STHexPlane
from orbit4d.splat.losses import dssim
from orbit4d.splat.native import instruction_set, library
from orbit4d.splat.rasterize import render
from orbit4d.splat.spherical_harmonics import shade, shade_reference

CELLS = ((10_000, 128), (10_000, 256), (50_000, 128), (50_000, 256))


@dataclass(kw_only=True)
class Arguments:
    out: Path | None = None
    """JSON report; printed only when left out."""
    repeats: int = 15
    twin: bool = True
    """Time the PyTorch twin too (half a minute)."""


def scene(count: int) -> Gaussians:
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    means = directions * torch.rand(count, 1, generator=generator) ** (1 / 3)
    opacities = 0.1 + 0.8 * torch.rand(count, generator=generator)
    return Gaussians(
        means=means,
        quats=torch.randn(count, 4, generator=generator),
        log_scales=(0.01 + 0.02 * torch.rand(count, 3, generator=generator)).log(),
        logit_opacities=torch.logit(opacities),
        sh=torch.randn(count, 1, 3, generator=generator),
    )


def milliseconds(run: Callable[[], object], repeats: int) -> float:
    run()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - started))
    return round(min(times), 2)


def in_turns(fast: Callable[[], object], slow: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Least milliseconds of two functions, whose ratio suffers less from what else the machine does meanwhile."""
    pairs = [(milliseconds(fast, 1), milliseconds(slow, 1)) for _ in range(repeats)]
    first, second = (min(times) for times in zip(*pairs, strict=True))
    return first, second


def against_torch(fast: Callable[[], object], slow: Callable[[], object], repeats: int) -> dict[str, float]:
    ours, theirs = in_turns(fast, slow, repeats)
    return {"ms": round(ours, 2), "torch_ms": round(theirs, 2), "torch_ratio": round(theirs / ours, 1)}


def features(count: int, times: int, repeats: int) -> dict[str, float]:
    field, generator = STHexPlane(), torch.Generator().manual_seed(0)
    points, clock = torch.rand(count, 3, generator=generator) * 2 - 1, torch.rand(times, generator=generator)

    def run(encode: Callable[..., torch.Tensor]) -> None:
        field.zero_grad()
        encode(points, clock).square().sum().backward()

    timed = against_torch(lambda: run(field.encode), lambda: run(field.encode_reference), repeats)
    return {"points": count, "times": times, **timed}


def colors(count: int, views: int, repeats: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    sh = torch.randn(count, 16, 3, generator=generator, requires_grad=True)
    means, positions = torch.randn(count, 3, generator=generator), 3 * torch.randn(views, 3, generator=generator)

    def run(function: Callable[..., torch.Tensor]) -> None:
        function(sh, means, positions).sum().backward()

    return {
        "gaussians": count,
        "views": views,
        **against_torch(lambda: run(shade), lambda: run(shade_reference), repeats),
    }


def processor_seconds(run: Callable[[], object], repeats: int) -> float:
    """Mean seconds on one thread, without a warm-up: the twin takes most of a minute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    started = time.process_time()
    for _ in range(repeats):
        run()
    took = (time.process_time() - started) / repeats
    torch.set_num_threads(threads)
    return took


def draw(gaussians: Gaussians, camera: Cameras, **options) -> Callable[[], object]:
    """Forward, and backward from gradients that are at hand: what comes after the images is not the rasteriser's."""
    leaves = [value.requires_grad_(True) for value in vars(gaussians).values()]
    with torch.no_grad():
        image = render(gaussians, camera)
        given = [torch.ones_like(x) for x in (image.rgb, image.alpha, image.depth)]

    def run() -> None:
        image = render(gaussians, camera, **options)
        torch.autograd.grad((image.rgb, image.alpha, image.depth), leaves, given)

    return run


def profile(gaussians: Gaussians, camera: Cameras, repeats: int) -> dict:
    drawn = render(gaussians, camera)
    pairs, seconds = (ctypes.c_longlong * 3)(), (ctypes.c_double * 6)()
    library().o4d_measure(drawn.rgb.grad_fn.session.handle, repeats, pairs, seconds)  # type: ignore[union-attr]
    listed, evaluated, contributing = pairs
    steps = dict(zip(("project", "order", "entries", "forward", "backward", "chain_rule"), seconds, strict=True))
    cycles = {k: round(clock_hz() * steps[k] / (evaluated / 16), 1) for k in ("forward", "backward")}
    return {
        "ms": {name: round(1000 * value, 3) for name, value in steps.items()},
        "listed": listed,
        "evaluated": evaluated,
        "contributing_share": round(contributing / evaluated, 3),
        "evaluated_per_second": {k: round(evaluated / steps[k]) for k in ("forward", "backward")},
        "cycles_per_16_pixels": cycles,
    }


def clock_hz() -> float:
    """The processor's nominal clock as Linux tells it; NaN elsewhere."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return max((1e6 * float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz")), default=float("nan"))


def main(arguments: Arguments) -> None:
    cells = []
    for count, size in CELLS:
        gaussians, camera = scene(count), Orbit(frames=8, radius=2.5, fov_deg=49.0).cameras(size)[1:2]
        one, two = in_turns(*(draw(gaussians, camera, threads=t) for t in (1, 2)), repeats=arguments.repeats)
        with torch.no_grad():
            forward = milliseconds(lambda g=gaussians, c=camera: render(g, c, threads=2), arguments.repeats)
        cell = {
            "gaussians": count,
            "size": size,
            "ms": round(two, 2),
            "ms_forward": forward,
            "two_threads": round(one / two, 2),
        }
        if arguments.twin and (count, size) == CELLS[0]:
            cell["twin_ratio"] = round(
                processor_seconds(draw(gaussians, camera, backend="reference"), 1)
                / processor_seconds(draw(gaussians, camera, threads=1), arguments.repeats)
            )
        cell["profile"] = profile(gaussians, camera, arguments.repeats)
        cells.append(cell)
        print(cell, flush=True)

    hexplane = [features(n, v, arguments.repeats) for n, v in ((10_000, 1), (384, 13))]
    pair = torch.rand(4, 3, 256, 256, requires_grad=True), torch.rand(4, 3, 256, 256)
    other = {
        "hexplane": hexplane,
        "spherical_harmonics": [colors(n, v, arguments.repeats) for n, v in ((10_000, 1), (10_000, 4))],
        "dssim_4x256_ms": milliseconds(lambda: dssim(*pair).backward(), arguments.repeats),
    }
    print(other)
    write_report(
        arguments.out,
        {"benchmark": "kernels", "instruction_set": instruction_set(), "rasteriser": cells, **other},
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
