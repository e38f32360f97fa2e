"""Does the construction learn faster with the diffusion model's features? ST-HexPlane without and with transferred features.

    python benchmarks/features.py --rows out/features.jsonl --out benchmarks/results/features.json

Each source is constructed from its moving and its static orbit, 128 pixels: without features; with the spatial maps z_s, the
temporal maps z_t, or both, of one pass of the denoiser over the clip's own latents; and with noise in their place, which
tells what more inputs alone are worth. Scored at 500, 1,000, 2,000 steps and at the end, on frames that nothing was fitted to:

    rendered    the assets of construction.py, four cameras 15 degrees above the orbit, all 24 times
    elk         the published sample's front view
    generated   prompts: every fourth frame of the sampled orbit is held out

A finished (source, features, seed) is a line of ROWS and is not done again. `--weights` takes another model than the built-in one.
"""

from __future__ import annotations

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
    at: tuple[int, ...] = (500, 1000, 2000)
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
        "mean": means(found),
        "rows": found,
    }
    write_report(a.out, report)


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


def means(rows: list[dict]) -> dict[str, dict[str, dict[str, float]]]:
    """Kind of source -> features -> step -> foreground PSNR, and the paired gain over no features."""
    kinds = {"generated": [], "rendered": []}
    for r in rows:
        kinds["generated" if r["source"].startswith("generated") else "rendered"].append(r)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for kind, mine in kinds.items():
        base = {(r["source"], r["seed"]): r["scores"] for r in mine if r["given"] == "none"}
        for given in dict.fromkeys(r["given"] for r in mine):
            these = [r for r in mine if r["given"] == given]
            entry: dict[str, float] = {}
            for step in these[0]["scores"]:
                values = [r["scores"][step]["foreground_psnr"] for r in these]
                entry[step] = round(statistics.mean(values), 3)
                pairs = [
                    r["scores"][step]["foreground_psnr"] - base[key][step]["foreground_psnr"]
                    for r in these
                    if (key := (r["source"], r["seed"])) in base
                ]
                if given != "none" and pairs:
                    entry[f"gain {step}"] = round(statistics.mean(pairs), 3)
            found.setdefault(kind, {})[given] = entry
    return found


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
