"""Quality against sampling steps, for every scheduler: which is the fastest that keeps the quality?

    python benchmarks/schedulers.py --out benchmarks/results/schedulers.json --weights runs/mine/weights

Two questions. *Distance*: PSNR on white between a sample and the sample of the same seed and prompt with very many euler
steps, which is what all schedulers approximate. *Truth*: an animation of the vocabulary is rendered, its first frame is
shown to the model, and the sampled orbit is compared with the render (frame 0, which was shown, does not count), on the
foreground. Seconds are of the whole call, decoding included. Every sample that is finished is kept in --work and not made
again. Steps are counted in evaluations of the network: heun makes half as many, rounded up.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from shared import DATA, row, save_sheet, write_report

from orbit4d.cameras import Orbit
from orbit4d.clip import OrbitalClip
from orbit4d.data.render import render_clip
from orbit4d.diffusion.pipeline import Orbit4DPipeline
from orbit4d.diffusion.schedulers import NAMES
from orbit4d.evaluate.metrics import foreground_psnr, psnr
from orbit4d.files import atomic_path

ASSETS = {
    "a fox running": ("q_animals_Fox.glb", "Gallop"),
    "a robot dancing": ("raylib_robot.glb", "Robot_Dance"),
    "a clownfish swimming": ("q_cute_fish_Clownfish.glb", "Swimming_Normal"),
    "a knight walking": ("kaykit_Knight.glb", "Walking_A"),
}


@dataclass(kw_only=True)
class Arguments:
    out: Path | None = None
    """JSON report; printed only when left out. The plot and a sheet are written beside it."""
    work: Path = Path("out/schedulers")
    """Finished samples; another model or another number of frames starts anew."""
    weights: str | None = None
    """Folder or hub name of a model; the built-in one when left out."""
    names: tuple[str, ...] = NAMES
    steps: tuple[int, ...] = (4, 6, 8, 12, 20, 30, 50)
    reference_steps: int = 40
    """Of heun, 2 n - 1 evaluations: of second order, so that its own error is far below that of what is compared with it."""
    prompts: tuple[str, ...] = tuple(ASSETS)
    seeds: tuple[int, ...] = (0, 1)
    frames: int = 24
    truth: bool = True
    """Also compare with renders, which need the assets."""


def cached(folder: Path, key: str, make) -> tuple[torch.Tensor, float]:
    """(frames on white, seconds) of a sample, made once."""
    file = folder / f"{key.replace(' ', '_')}.pt"
    if not file.is_file():
        started = time.perf_counter()
        clip = make()
        seconds = time.perf_counter() - started
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as temporary:
            torch.save({"frames": (clip.on_background() * 255).round().byte(), "seconds": seconds}, temporary)
    stored = torch.load(file, weights_only=True)
    return stored["frames"].float() / 255, stored["seconds"]


def truth_of(prompt: str, frames: int) -> OrbitalClip:
    file, animation = ASSETS[prompt]
    return render_clip(DATA / "assets" / file, trajectory="orbit", frames=frames, size=128, animation=animation)


def mean(values: list[float]) -> float | None:
    return round(statistics.fmean(values), 3) if values else None


def measure(pipe: Orbit4DPipeline, arguments: Arguments, name: str, steps: int, truths: dict[str, OrbitalClip]) -> dict:
    """One cell of the table: over prompts and seeds."""
    folder = arguments.work / f"{pipe.weights_hash}-{arguments.frames}"
    counted = (steps + 1) // 2 if name == "heun" else steps
    distance, foreground, seconds = [], [], []
    for prompt in arguments.prompts:
        for seed in arguments.seeds:
            for shown in (False, True) if prompt in truths else (False,):
                options = {"prompt": prompt, "seed": seed, "orbit": Orbit(frames=arguments.frames), "progress": False}
                if shown:
                    options["references"] = truths[prompt][:1]
                key = f"{prompt}-{seed}-{'image' if shown else 'text'}"
                reference, _ = cached(
                    folder,
                    f"{key}-reference-heun-{arguments.reference_steps}",
                    lambda o=options: pipe(scheduler="heun", steps=arguments.reference_steps, **o),
                )
                frames, spent = cached(
                    folder, f"{key}-{name}-{counted}", lambda o=options: pipe(scheduler=name, steps=counted, **o)
                )
                seconds.append(spent)
                distance.append(float(psnr(frames, reference).mean()))
                if shown:
                    truth = truths[prompt]
                    scores = foreground_psnr(frames, truth.on_background(), truth.alpha)[1:]
                    foreground.append(float(scores[scores.isfinite()].mean()))
    cell = {
        "scheduler": name,
        "evaluations": 2 * counted - 1 if name == "heun" else counted,
        "psnr_to_reference": mean(distance),
        "worst_to_reference": round(min(distance), 3),
        "image_to_orbit_foreground_psnr": mean(foreground),
        "seconds": mean(seconds),
        "samples": len(distance),
    }
    print(json.dumps(cell), flush=True)
    return cell


def plot(cells: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    wanted = ["psnr_to_reference", "image_to_orbit_foreground_psnr"]
    wanted = [key for key in wanted if any(cell[key] is not None for cell in cells)]
    figure, axes = pyplot.subplots(1, len(wanted), figsize=(6 * len(wanted), 4), squeeze=False)
    for axis, key in zip(axes[0], wanted, strict=True):
        for name in dict.fromkeys(cell["scheduler"] for cell in cells):
            of = [cell for cell in cells if cell["scheduler"] == name]
            axis.plot([cell["evaluations"] for cell in of], [cell[key] for cell in of], marker="o", label=name)
        axis.set_xscale("log")
        axis.set_xlabel("evaluations of the network")
        axis.set_ylabel(f"{key.replace('_', ' ')}, dB")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def main(arguments: Arguments) -> None:
    pipe = Orbit4DPipeline.from_pretrained(arguments.weights)
    truths: dict[str, OrbitalClip] = {}
    if arguments.truth:
        truths = {p: truth_of(p, arguments.frames) for p in arguments.prompts if p in ASSETS}
    cells = [measure(pipe, arguments, n, s, truths) for n in arguments.names for s in arguments.steps]
    report = {
        "benchmark": "quality against sampling steps",
        "weights_hash": pipe.weights_hash,
        "prompts": arguments.prompts,
        "seeds": arguments.seeds,
        "frames": arguments.frames,
        "reference": f"heun, {arguments.reference_steps} steps",
        "cells": cells,
    }
    write_report(arguments.out, report)
    if arguments.out is not None:
        plot(cells, arguments.out.with_suffix(".png"))
        folder, first = arguments.work / f"{pipe.weights_hash}-{arguments.frames}", arguments.prompts[0]
        key = f"{first}-{arguments.seeds[0]}-text"
        shown = torch.linspace(0, arguments.frames - 1, 6).round().int().tolist()
        rows = [cached(folder, f"{key}-reference-heun-{arguments.reference_steps}", None)[0]]
        rows += [cached(folder, f"{key}-dpm++-{s}", None)[0] for s in arguments.steps if "dpm++" in arguments.names]
        save_sheet([row(frames, shown) for frames in rows], arguments.out.with_name("schedulers_sheet.png"))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
