"""How fast assets become frames on disk: reading, placing, posing, drawing, PNG encoding; RGBA and 16-bit depth.

    LP_NUM_THREADS=1 python benchmarks/render_speed.py --out benchmarks/results/render_speed.json

The asset is a toy of the toybox whose triangles are split until there are 12,000, written and read as a .glb like any
other; `--asset` takes a file instead. Each process renders `clips` clips of 24 frames (an orbit, all times different:
nothing is reused between frames) and the figure includes everything from the file to the PNGs, PNG writing included.
The best of `repeats` is kept, because other work on the machine can only slow it down; CPU seconds a frame are the
steadier figure, and with LP_NUM_THREADS=1 (drawing and the rest hardly overlap) they say what idle cores would give.
GL works when results are asked for: most of the drawing shows under "resolve and read".
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image

from orbit4d.assets.gltf import Asset, load_glb
from orbit4d.assets.toybox import make_toy

FRAMES = 24
DEPTH_RANGE = 4.0
"""World units at 65535 in the depth PNGs."""
RUN_LENGTH = 3
"""zlib's Z_RLE: a quarter faster than its default at level 1, and smaller on pictures that are mostly empty."""


@dataclass(kw_only=True)
class Arguments:
    out: Path | None = None
    """JSON report; printed only when left out."""
    asset: Path | None = None
    """A .glb to render; the toy nearest to 12,000 triangles when left out."""
    size: int = 256
    clips: int = 4
    repeats: int = 5
    processes: tuple[int, ...] = (1, 2)
    supersample: tuple[int, ...] = (1, 2)


def fine_toy(triangles: int = 12_000) -> bytes:
    """Of forty walking, skinned toys the one whose number of triangles is nearest."""
    toys = [make_toy(seed, kind="quadruped", motion="walk") for seed in range(40)]
    return min(toys, key=lambda toy: abs(toy.triangles - triangles)).glb


class Stages:
    """CPU seconds of the process (all its threads) by stage; a stage within another counts for itself only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0

    def _settle(self) -> None:
        """Book what was spent since the last change of stage."""
        now = time.process_time()
        if self._open:
            self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0) + now - self._since
        self._since = now

    @contextmanager
    def of(self, name: str):
        self._settle()
        self._open.append(name)
        try:
            yield
        finally:
            self._settle()
            self._open.pop()

    def wrap(self, owner: object, function: str, name: str) -> None:
        inner = getattr(owner, function)

        def timed(*arguments, **keywords):
            with self.of(name):
                return inner(*arguments, **keywords)

        setattr(owner, function, timed)


def work(asset_path: Path, folder: Path, size: int, supersample: int, clips: int, barrier, results) -> None:
    """One process: clips of 24 frames from the file to PNGs; puts (seconds, CPU seconds, seconds by stage, renderer)."""
    torch.set_num_threads(1)
    from orbit4d.cameras import Orbit
    from orbit4d.data import gl_asset, render, renderer

    stages = Stages()
    stages.wrap(render, "place", "place")
    stages.wrap(Asset, "pose", "pose, for the placing too")
    stages.wrap(gl_asset.GlAsset, "pose", "upload")
    stages.wrap(renderer.Renderer, "_draw", "draw")
    stages.wrap(renderer.Renderer, "_resolve", "resolve and read")
    orbit = Orbit(frames=FRAMES)
    times = orbit.times.tolist()
    pairs = [(i, i) for i in range(FRAMES)]
    with renderer.Renderer(size=size, supersample=supersample) as gl:

        def clip() -> None:
            with stages.of("read the file"):
                asset = load_glb(asset_path)
            drawn = render.iter_grid(
                asset, cameras=orbit.cameras(size), times=times, pairs=pairs, animation=0, size=size,
                outputs=("depth",), supersample=supersample, renderer=gl,
            )  # fmt: skip
            for k, frame in drawn:
                with stages.of("write PNGs"):
                    Image.fromarray(frame.rgba).save(
                        folder / f"{os.getpid()}_{k}.png", compress_level=1, compress_type=RUN_LENGTH
                    )
                    assert frame.depth is not None
                    depth = np.minimum(frame.depth * (65535 / DEPTH_RANGE) + 0.5, 65535).astype(np.uint16)
                    Image.fromarray(depth).save(
                        folder / f"{os.getpid()}_{k}_depth.png", compress_level=1, compress_type=RUN_LENGTH
                    )

        clip()  # compiles the shaders
        stages.seconds.clear()
        barrier.wait()
        started, cpu = time.perf_counter(), time.process_time()
        for _ in range(clips):
            clip()
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        results.put((seconds, cpu, stages.seconds, gl.info))


def measure(asset: Path, *, size: int, supersample: int, clips: int, processes: int) -> dict:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        workers = [
            context.Process(target=work, args=(asset, Path(folder), size, supersample, clips, barrier, results))
            for _ in range(processes)
        ]
        for worker in workers:
            worker.start()
        done = [results.get(timeout=600) for _ in workers]
        for worker in workers:
            worker.join()
    frames = clips * FRAMES
    stages = {name: round(1e3 * sum(d[2][name] for d in done) / (frames * processes), 2) for name in done[0][2]}
    return {
        "frames_per_second": round(frames * processes / max(d[0] for d in done), 1),
        "cpu_milliseconds_a_frame": round(1e3 * sum(d[1] for d in done) / (frames * processes), 2),
        "cpu_milliseconds_by_stage": stages,
        "renderer": done[0][3],
    }


def main(arguments: Arguments) -> None:
    from shared import write_report

    cells = []
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.asset or Path(folder) / "fine_toy.glb"
        if arguments.asset is None:
            path.write_bytes(fine_toy())
        asset = load_glb(path)
        for supersample in arguments.supersample:
            for processes in arguments.processes:
                runs = [
                    measure(
                        path, size=arguments.size, supersample=supersample, clips=arguments.clips, processes=processes
                    )
                    for _ in range(arguments.repeats)
                ]
                best = max(runs, key=lambda run: run["frames_per_second"])
                cell = {"supersample": supersample, "processes": processes, **best}
                cpu = min(run["cpu_milliseconds_a_frame"] for run in runs)
                cell["cpu_milliseconds_a_frame"] = cpu
                cell["frames_per_second_were_the_cores_idle"] = round(1e3 * processes / cpu, 1)
                cells.append(cell)
                print(cell, flush=True)
    write_report(
        arguments.out,
        {
            "benchmark": "rendering from the file to PNGs: RGBA and 16-bit depth",
            "asset": path.name,
            "triangles": asset.triangles,
            "vertices": sum(len(p.positions) for p in asset.primitives),
            "joints": sum(len(s.joints) for s in asset.skins),
            "size": arguments.size,
            "frames": arguments.clips * FRAMES,
            "repeats": arguments.repeats,
            "LP_NUM_THREADS": os.environ.get("LP_NUM_THREADS"),
            "cells": cells,
        },
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
