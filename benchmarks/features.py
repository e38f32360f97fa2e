"""Does the construction learn faster with the diffusion model's features? ST-HexPlane without and with transferred features.

    python benchmarks/features.py --rows out/features.jsonl --out benchmarks/results/features.json

Each source is constructed from its moving and its static orbit, 128 pixels: without features; with the spatial maps z_s, the
temporal maps z_t, or both, of one pass of the denoiser over the clip's own latents; and with noise in their place, which
tells what more inputs alone are worth. Scored every 500 steps and at the end, on frames that nothing was fitted to:

    rendered    the assets of construction.py, four cameras 15 degrees above the orbit, all 24 times
    elk         the published sample's front view
    generated   prompts: every fourth frame of the sampled orbit is held out

Besides the scores: after how many steps a construction scores, in foreground PSNR, what the one without features scores at its end
(`steps_needed`). Seeds of a source are averaged first; intervals are over sources, and over its seeds where a kind has one source.

A finished (source, features, seed) is a line of ROWS and is not done again. `--weights` takes another model than the built-in one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import tyro
from construction import AZIMUTHS, ELEVATION, rendered
from elk import SEEN
from rows import Rows
from shared import DATA, score, write_report

from orbit4d.clip import OrbitalClip, SpatioTemporalFeatures, load_clip
from orbit4d.diffusion.autoencoder import premultiply
from orbit4d.diffusion.pipeline import Orbit4DPipeline
from orbit4d.diffusion.sampling import make_branch
from orbit4d.evaluate.resampling import bootstrap_interval
from orbit4d.splat.fit import FitConfig, fit
from orbit4d.splat.gaussians import Gaussians4D

Given = Literal["none", "spatial", "temporal", "both", "noise"]
SIZE = 128
HELD = 4
"""Of a generated orbit every so-manieth frame is held out."""


@dataclass(kw_only=True)
class Arguments:
    out: Path | None = None
    """JSON report; printed only when left out."""
    rows: Path = Path("out/features.jsonl")
    assets: tuple[str, ...] = ("fox running", "barbarian running", "horse galloping", "koi swimming")
    """Of construction.py."""
    elk: bool = True
    prompts: tuple[str, ...] = ("a fox running", "a robot dancing", "a clownfish swimming")
    given: tuple[Given, ...] = get_args(Given)
    seeds: tuple[int, ...] = (0,)
    steps: int = 2500
    at: tuple[int, ...] = (500, 1000, 1500, 2000)
    """Steps after which it is scored, besides the last."""
    weights: str | None = None
    sampling_steps: int = 12
    threads: int | None = None


@dataclass(kw_only=True)
class Source:
    """What one object is constructed from, and what it is scored on."""

    moving: OrbitalClip
    still: OrbitalClip
    held: list[OrbitalClip]
    prompt: str | None = None


def main(a: Arguments) -> None:
    if a.threads is not None:
        torch.set_num_threads(a.threads)
    pipe = Orbit4DPipeline.from_pretrained(a.weights)
    rows = Rows(a.rows, key=("source", "given", "seed", "steps", "weights"))
    wanted = []
    for name, load in sources(a, pipe).items():
        cases = [
            {"source": name, "given": given, "seed": seed, "steps": a.steps, "weights": pipe.weights_hash}
            for seed in a.seeds
            for given in a.given
        ]
        wanted += cases
        if all(case in rows for case in cases):
            continue
        source = load()
        maps = features_of(pipe, source.moving, source.prompt)
        for case in cases:
            if case not in rows:
                rows.add(case | run(source, maps, given=case["given"], seed=case["seed"], a=a))
    found = [rows[case] for case in wanted]
    report = {
        "benchmark": "construction with and without transferred features",
        "weights": pipe.weights_hash,
        "threads": torch.get_num_threads(),
        "steps": a.steps,
        "seeds": list(a.seeds),
    }
    write_report(a.out, report | summary(found) | {"rows": found})


def sources(a: Arguments, pipe: Orbit4DPipeline) -> dict[str, Callable[[], Source]]:
    """What is asked for, loaded or sampled only when it is its turn."""

    def asset(name: str) -> Source:
        held = [rendered(name, SIZE, "front", azimuth, ELEVATION) for azimuth in AZIMUTHS]
        moving, still = (rendered(name, SIZE, kind, 0.0) for kind in ("orbit", "static"))
        return Source(moving=moving, still=still, held=held)

    def elk() -> Source:
        moving, still, front = (
            load_clip(DATA / "elk" / f"transforms_{kind}.json").resized(SIZE)
            for kind in ("multi", "multi_static", "front")
        )
        return Source(moving=moving, still=still, held=[front[[i for i in range(len(front)) if i not in SEEN]]])

    def generated(prompt: str) -> Source:
        moving, still = (
            pipe(prompt=prompt, steps=a.sampling_steps, static=static, progress=False) for static in (False, True)
        )
        out = list(range(HELD // 2, len(moving), HELD))
        kept = [i for i in range(len(moving)) if i not in out]
        return Source(moving=moving[kept], still=still, held=[moving[out]], prompt=prompt)

    found: dict[str, Callable[[], Source]] = {name: lambda n=name: asset(n) for name in a.assets}
    if a.elk:
        found["elk"] = elk
    return found | {f"generated: {p}": lambda p=p: generated(p) for p in a.prompts}


@torch.inference_mode()
def features_of(pipe: Orbit4DPipeline, clip: OrbitalClip, prompt: str | None) -> SpatioTemporalFeatures:
    """The streams' maps of the clip's own frames."""
    clip = clip.resized(SIZE)
    latents = pipe.autoencoder.encode(premultiply(clip.rgb, clip.alpha))[None]
    branch = make_branch(pipe.denoiser, clip.cameras, clip.times, prompt=prompt)
    return pipe.features(latents, branch, clip.cameras, clip.times)


def chosen(maps: SpatioTemporalFeatures, given: Given) -> SpatioTemporalFeatures | None:
    """What the construction is told: silenced maps are zero everywhere."""
    if given == "none":
        return None
    if given == "noise":
        generator = torch.Generator().manual_seed(0)
        z_s, z_t = (torch.randn(z.shape, generator=generator) for z in (maps.z_s, maps.z_t))
        return replace(maps, z_s=z_s, z_t=z_t)
    return replace(
        maps,
        z_s=maps.z_s.clone() * (given in ("spatial", "both")),
        z_t=maps.z_t.clone() * (given in ("temporal", "both")),
    )


def run(source: Source, maps: SpatioTemporalFeatures, *, given: Given, seed: int, a: Arguments) -> dict[str, Any]:
    scores: dict[str, dict[str, float]] = {}

    def on_step(step: int, total: int, scene: Callable[[], Gaussians4D]) -> None:
        if step in a.at or step == total:
            scores["end" if step == total else str(step)] = held_out(scene(), source)

    moving = replace(source.moving, features=chosen(maps, given))
    config = replace(FitConfig.for_size(SIZE, steps=a.steps), seed=seed)
    result = fit(moving, static_clip=source.still, config=config, progress=False, on_step=on_step)
    return {"scores": scores, "seconds": round(result.seconds, 1), "train_psnr": result.history[-1]["psnr"]}


def held_out(scene: Gaussians4D, source: Source) -> dict[str, float]:
    each = [score(scene, clip) for clip in source.held]
    return {k: round(statistics.mean(s[k] for s in each), 3) for k in ("whole_psnr", "foreground_psnr", "ssim")}


Curve = dict[str, float]
"""Steps ("500", ..., "end") -> foreground PSNR on the held-out frames."""


def summary(rows: list[dict]) -> dict[str, Any]:
    """Each source with each features (`cases`), and means and gains over the sources of a kind (`means`)."""
    cases = []
    for source in dict.fromkeys(r["source"] for r in rows):
        mine = [r for r in rows if r["source"] == source]
        none = averaged([curve(r) for r in mine if r["given"] == "none"])
        for given in dict.fromkeys(r["given"] for r in mine):
            these = [r for r in mine if r["given"] == given]
            found = averaged([curve(r) for r in these])
            total = these[0]["steps"]
            cases.append(
                {
                    "kind": kind_of(source),
                    "source": source,
                    "given": given,
                    "seeds": [r["seed"] for r in these],
                    "foreground_psnr": {step: round(value, 3) for step, value in found.items()},
                    "iterations": steps_needed(found, none["end"], total=total) if none else None,
                    "gains": {} if given == "none" else gains(these, [r for r in mine if r["given"] == "none"]),
                }
            )
    return {"means": means(cases), "cases": cases}


def kind_of(source: str) -> str:
    return "elk" if source == "elk" else "generated" if source.startswith("generated") else "rendered"


def curve(row: dict) -> Curve:
    return {step: s["foreground_psnr"] for step, s in row["scores"].items()}


def averaged(curves: list[Curve]) -> Curve:
    """The mean of curves, at the steps that all have."""
    shared = [step for step in curves[0] if all(step in c for c in curves)] if curves else []
    return {step: statistics.mean(c[step] for c in curves) for step in shared}


def steps_needed(found: Curve, target: float, *, total: int) -> float | None:
    """After how many steps the curve first reaches `target`, by straight lines between the steps that were scored.

    None where it never does. The first scored step where it is reached there already: earlier ones are not known.
    """
    before: tuple[int, float] | None = None
    for step, value in sorted((total if s == "end" else int(s), v) for s, v in found.items()):
        if value >= target:
            if before is None:
                return float(step)
            return round(before[0] + (step - before[0]) * (target - before[1]) / (value - before[1]), 1)
        before = step, value
    return None


def gains(these: list[dict], none: list[dict]) -> dict[str, list[float]]:
    """Step -> foreground PSNR over no features, one value a seed that has both."""
    base = {r["seed"]: curve(r) for r in none}
    found: dict[str, list[float]] = {}
    for r in these:
        for step, value in curve(r).items():
            if step in base.get(r["seed"], {}):
                found.setdefault(step, []).append(round(value - base[r["seed"]][step], 3))
    return found


def means(cases: list[dict]) -> dict[str, dict[str, dict[str, Any]]]:
    """Kind of source -> features -> foreground PSNR and gain by step, and the median number of iterations needed."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for kind in dict.fromkeys(c["kind"] for c in cases):
        for given in dict.fromkeys(c["given"] for c in cases if c["kind"] == kind):
            these = [c for c in cases if (c["kind"], c["given"]) == (kind, given)]
            psnr = averaged([c["foreground_psnr"] for c in these])
            found.setdefault(kind, {})[given] = {
                "sources": [c["source"] for c in these],
                "foreground_psnr": {step: round(value, 3) for step, value in psnr.items()},
                "gain": {step: bootstrap_interval(independent(these, step)) for step in psnr if paired(these, step)},
                "iterations": middle([c["iterations"] for c in these]),
            }
    return found


def paired(cases: list[dict], step: str) -> bool:
    return all(step in c["gains"] for c in cases)


def independent(cases: list[dict], step: str) -> list[float]:
    """Gains of which an interval may be made: one a source, its seeds averaged; of a single source, one a seed."""
    if len(cases) == 1:
        return cases[0]["gains"][step]
    return [statistics.mean(c["gains"][step]) for c in cases]


def middle(needed: list[float | None]) -> dict[str, float | int | None]:
    """The median, where a source that never reached its target counts as more than any number; None where that is the median."""
    reached = [n for n in needed if n is not None]
    median = statistics.median(sorted(reached) + [math.inf] * (len(needed) - len(reached)))
    return {"median": None if math.isinf(median) else median, "reached": len(reached), "cases": len(needed)}


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
