"""Which stage limits the result, and what would more views give? The oracle ladder, for assets of the model's vocabulary.

    python benchmarks/oracle_ladder.py --weights DIR --work out/ladder --out benchmarks/results/oracle_ladder.json

Every rung constructs a scene from K orbits (evenly shifted in phase) and a static orbit at 128 x 128, for K = 1, 2 and 4:

1. true orbits: what construction loses, and what it would gain from more views of every moment;
2. the same through the autoencoder: what the latents lose;
3. sampled orbits, all K in one joint sample: what the denoiser loses, given the prompt alone; an image (view 0, time 0) and the
   prompt; the static orbit and the prompt.

Scores are of views that no rung has seen: `front` (azimuth 52 degrees, all times) and `between` (the orbit that starts 45
degrees off those of K = 4). `clip` scores the frames that a rung hands to the fit against the true orbits, without frame 0,
which the image rungs are given, and `m` is the asset's motion magnitude, beside the true clip's. A prompt does not fix pose and
phase, so scores of the prompt-only rungs are strict: anything but the training asset's own motion counts as wrong.

A finished rung is a line of WORK/rows.jsonl and is not done again. Rungs of true orbits do not depend on the model.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import tyro
from known_clips import CLIPS, KnownClip
from rows import Rows
from shared import frame_scores, score, write_report
from strips import save_sheet, save_strip, strip_path

from orbit4d.clip import OrbitalClip
from orbit4d.diffusion.autoencoder import premultiply, unpremultiply
from orbit4d.diffusion.pipeline import DEFAULT_STEPS, Orbit4DPipeline
from orbit4d.evaluate.evaluate import render_scene
from orbit4d.evaluate.metrics import motion_magnitude
from orbit4d.evaluate.motion import asset_motion
from orbit4d.splat.fit import FitConfig, fit

SOURCES = (
    "ground truth",
    "autoencoder round trip",
    "sampled, prompt",
    "sampled, image + prompt",
    "sampled, static 3D + prompt",
)
VIEWS = {"front": ("front", 52.0), "between": ("orbit", 225.0)}
"""Name -> trajectory and azimuth of the views that are scored."""
CASE = (
    "asset",
    "animation",
    "source",
    "orbits",
    "weights",
    "seed",
    "steps",
    "guidance_scale",
    "guidance_3d",
    "fit_steps",
)
SHOWN = list(range(0, 24, 4))


@dataclass(kw_only=True)
class Arguments:
    work: Path = Path("out/oracle_ladder")
    """Folder of rows.jsonl and the pictures; an interrupted run is taken up from it."""
    out: Path | None = None
    """JSON report; printed only when left out."""
    pictures: Path | None = None
    """Folder for a sheet: the front view, a column an asset, truth first, then one row a rung."""
    weights: Path | None = None
    """Another model; the built-in one when left out."""
    assets: int = 4
    """How many of known_clips.CLIPS."""
    sources: tuple[str, ...] = SOURCES
    orbits: tuple[int, ...] = (1, 2, 4)
    """The values of K."""
    steps: int = DEFAULT_STEPS
    """Sampling steps."""
    guidance_scale: float = 2.0
    guidance_3d: float = 0.5
    fit_steps: int = 800
    """Of each construction."""
    seed: int = 0


class Subject:
    """One asset: its true clips, and the static orbits of each source, made when they are first needed."""

    def __init__(self, known: KnownClip, pipe: Orbit4DPipeline, options: dict[str, Any]) -> None:
        self.known, self.pipe, self.options = known, pipe, options
        self._statics: dict[str, OrbitalClip] = {}

    @cached_property
    def truth(self) -> OrbitalClip:
        return self.known.orbit()

    @cached_property
    def still(self) -> OrbitalClip:
        return self.known.static()

    @cached_property
    def true_m(self) -> float:
        return float(motion_magnitude(self.truth.on_background(), self.still.on_background()))

    @cached_property
    def unseen(self) -> dict[str, OrbitalClip]:
        return {
            name: self.known.front(azimuth) if trajectory == "front" else self.known.orbit(azimuth)
            for name, (trajectory, azimuth) in VIEWS.items()
        }

    def conditions(self, source: str) -> dict[str, Any]:
        given: dict[str, Any] = {"prompt": self.known.prompt}
        if source == "sampled, image + prompt":
            given["image"] = torch.cat([self.truth.rgb[0], self.truth.alpha[0]])
        if source == "sampled, static 3D + prompt":
            given["static_clip"] = self.still
        return given

    def orbits(self, source: str, count: int) -> OrbitalClip:
        """What a rung hands to the construction."""
        match source:
            case "ground truth":
                return self.known.orbits(count)
            case "autoencoder round trip":
                return through_autoencoder(self.pipe, self.known.orbits(count))
            case _:
                return self.pipe(**self.conditions(source), **self.options, orbits=count, progress=False)

    def static(self, source: str) -> OrbitalClip:
        if source not in self._statics:
            match source:
                case "ground truth" | "sampled, static 3D + prompt":
                    made = self.still
                case "autoencoder round trip":
                    made = through_autoencoder(self.pipe, self.still)
                case _:
                    made = self.pipe(**self.conditions(source), **self.options, static=True, progress=False)
            self._statics[source] = made
        return self._statics[source]


@torch.inference_mode()
def through_autoencoder(pipe: Orbit4DPipeline, clip: OrbitalClip) -> OrbitalClip:
    latents = pipe.autoencoder.encode(premultiply(clip.rgb, clip.alpha))
    rgb, alpha = unpremultiply(pipe.autoencoder.decode(latents))
    return replace(clip, rgb=rgb.clone(), alpha=alpha.clone(), depth=None)


def run(subject: Subject, case: dict[str, Any], work: Path) -> dict[str, Any]:
    """One rung: its clip, its construction, their scores."""
    started = time.monotonic()
    clip, static = subject.orbits(case["source"], case["orbits"]), subject.static(case["source"])
    made = time.monotonic()
    truth = subject.known.orbits(case["orbits"])
    config = replace(FitConfig.for_size(128, case["fit_steps"]), seed=case["seed"])
    scene = fit(clip, static_clip=static, config=config, progress=False).scene
    built = time.monotonic()
    shown = subject.unseen["front"][SHOWN]
    save_strip(render_scene(scene, shown.cameras, shown.times)[0], strip_path(work, {k: case[k] for k in CASE}))
    own = case["source"] == "ground truth"
    return {
        # Frame 0 is what the image rungs are given; it counts in no rung, so that they can be compared.
        "clip": None if own else frame_scores(clip.on_background()[1:], truth.on_background()[1:], truth.alpha[1:]),
        **{name: score(scene, view) for name, view in subject.unseen.items()},
        "motion": asset_motion(scene, subject.truth.cameras, subject.truth.times),
        "true_m": subject.true_m,
        "seconds": {"frames": round(made - started, 1), "construct": round(built - made, 1)},
    }


def main(arguments: Arguments) -> None:
    pipe = Orbit4DPipeline.from_pretrained(arguments.weights)
    sampling = {name: getattr(arguments, name) for name in ("seed", "steps", "guidance_scale", "guidance_3d")}
    rows = Rows(arguments.work / "rows.jsonl", key=CASE)
    results, columns = [], []
    for known in CLIPS[: arguments.assets]:
        subject = Subject(known, pipe, sampling)
        entry: dict[str, Any] = {
            "asset": known.asset,
            "animation": known.animation,
            "prompt": known.prompt,
            "rungs": {},
        }
        truth = strip_path(arguments.work, {"truth": known.asset, "animation": known.animation})
        if not truth.is_file():
            save_strip(subject.unseen["front"][SHOWN].on_background(), truth)
        column = [("truth", truth)]
        for source in arguments.sources:
            for count in arguments.orbits:
                case = case_of(known, source, count, arguments, pipe.weights_hash)
                if case not in rows:
                    rows.add(case | run(subject, case, arguments.work))
                found = rows[case]
                name = f"{source}, {count} orbit{'s' if count > 1 else ''}"
                entry["rungs"][name] = {k: v for k, v in found.items() if k not in CASE}
                column.append((name, strip_path(arguments.work, case)))
        results.append(entry)
        columns.append((known.prompt, column))
    report = {"benchmark": "oracle ladder", "size": 128, "views": list(VIEWS), "sampling": sampling}
    report |= {
        "clip_without_frame_0": True,
        "fit_steps": arguments.fit_steps,
        "weights_hash": pipe.weights_hash,
        "assets": results,
    }
    write_report(arguments.out, report | {"mean": mean_of(results)})
    if arguments.pictures is not None:
        save_sheet(columns, arguments.pictures / "oracle_ladder.png")


def case_of(known: KnownClip, source: str, count: int, arguments: Arguments, weights: str) -> dict[str, Any]:
    """What tells a rung from others; what a rung does not depend on is left empty, so that other settings reuse it."""
    case = {"asset": known.asset, "animation": known.animation, "source": source, "orbits": count}
    case |= {"weights": "" if source == "ground truth" else weights, "seed": arguments.seed}
    for name in ("steps", "guidance_scale", "guidance_3d"):
        case[name] = getattr(arguments, name) if source.startswith("sampled") else None
    return case | {"fit_steps": arguments.fit_steps}


def mean_of(results: list[dict[str, Any]]) -> dict[str, dict]:
    """Of each rung, over assets."""
    found: dict[str, dict] = {}
    for name in results[0]["rungs"]:
        rungs = [entry["rungs"][name] for entry in results]
        scored = [view for view in ("clip", *VIEWS) if all(r[view] is not None for r in rungs)]
        found[name] = {
            view: {f: round(sum(r[view][f] for r in rungs) / len(rungs), 4) for f in rungs[0][view]} for view in scored
        }
        found[name]["m_of_truth"] = round(sum(r["motion"]["m"] / r["true_m"] for r in rungs) / len(rungs), 3)
    return found


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
