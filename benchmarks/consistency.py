"""Consistency figures of true clips, of clips spoilt on purpose, and of sampled clips.

    python benchmarks/consistency.py --weights DIR --work out/consistency --out benchmarks/results/consistency.json

Of each clip: view consistency (every 4th frame held out of a short construction; also of the static orbit alone), time
consistency (warp error by the scene's own motion, and, where the renderer knows it, by the true flow), and drift of what stands
still.

`figures`: one animated asset, rendered with depth and true scene flow, and Diffusion4D's elk, with controls that are made from
the true orbit (its static orbit stays true): `light` (every frame's brightness off by up to 10 %), `shifted` (every frame off by
up to 2 pixels), `swapped` (neighbouring frames change places). `frozen` is the elk's static orbit with times that run: nothing
moves, so all that moves is an artefact.

`samples`: clips sampled by prompt, and by image and prompt, of several animations whose truth is known, each beside its true
orbit through the same construction, and that beside the true flow: the scale on which a sampled clip's warp error is read.

A measured clip is a line of WORK/rows.jsonl and is not measured again; true clips do not depend on the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from known_clips import CLIPS, KnownClip
from rows import Rows
from shared import DATA, write_report

from orbit4d.clip import OrbitalClip, load_clip
from orbit4d.data.render import RenderedClip, render_clip
from orbit4d.diffusion.pipeline import DEFAULT_STEPS, Orbit4DPipeline
from orbit4d.evaluate.consistency import (
    SurfaceMotion,
    scene_drift,
    scene_time_consistency,
    view_consistency,
    warp_error,
)

CASE = ("subject", "clip", "weights", "sampling", "steps", "size", "seed")


@dataclass(kw_only=True)
class Arguments:
    work: Path = Path("out/consistency")
    """Folder of rows.jsonl; an interrupted run is taken up from it."""
    out: Path | None = None
    """JSON report; printed only when left out."""
    weights: Path | None = None
    """Another model; the built-in one when left out."""
    data: Path = DATA
    """Folder with assets/ and elk/."""
    asset: str = "q_platformer_game_Enemy.glb"
    """File in assets/."""
    animation: str | None = "Dance"
    controls: tuple[Literal["light", "shifted", "swapped"], ...] = ("light", "shifted", "swapped")
    """Ways in which the true orbit is spoilt."""
    elk: bool = True
    samples: int = 4
    """How many of known_clips.CLIPS are sampled."""
    sampling_steps: int = DEFAULT_STEPS
    guidance_scale: float = 2.0
    guidance_3d: float = 0.5
    steps: int = 400
    """Of each construction."""
    size: int = 128
    seed: int = 0


def spoilt(clip: OrbitalClip, how: str, *, seed: int) -> OrbitalClip:
    """The clip with one thing wrong in its frames; cameras and times stay."""
    generator = torch.Generator().manual_seed(seed)
    if how == "light":
        gains = 1 + 0.2 * (torch.rand(len(clip), generator=generator) - 0.5)
        return replace(clip, rgb=(clip.rgb * gains[:, None, None, None]).clamp(0, 1))
    if how == "shifted":
        offsets = torch.randint(-2, 3, (len(clip), 2), generator=generator).tolist()
        both = [torch.cat([c, a]).roll(tuple(o), (1, 2)) for c, a, o in zip(clip.rgb, clip.alpha, offsets, strict=True)]
        moved = torch.stack(both)
        return replace(clip, rgb=moved[:, :3], alpha=moved[:, 3:])
    order = [i + 1 if i % 2 == 0 else i - 1 for i in range(len(clip) - len(clip) % 2)]
    order += [len(clip) - 1] if len(clip) % 2 else []
    return replace(clip, rgb=clip.rgb[order], alpha=clip.alpha[order])


def true_figures(clip: RenderedClip) -> dict:
    """The warp error of a rendered clip by the renderer's own depth and flow: what a perfect clip of this object gets."""
    assert clip.depth is not None and clip.flow is not None
    motion = SurfaceMotion(depth=clip.depth, flow=clip.flow, cameras=clip.cameras)
    return warp_error(clip.on_background(), clip.alpha, motion)


class Bench:
    """Measures clips that have not been measured."""

    def __init__(self, arguments: Arguments) -> None:
        self.arguments, self.rows = arguments, Rows(arguments.work / "rows.jsonl", key=CASE)
        a = arguments
        self.sampling = {"steps": a.sampling_steps, "guidance_scale": a.guidance_scale, "guidance_3d": a.guidance_3d}

    @property
    def pipe(self) -> Orbit4DPipeline:
        return _pipeline(self.arguments.weights)

    def figures(self, subject: str, clip: str, measured: Callable[[], dict], *, sampled: bool = False) -> dict:
        """What is written of a clip of a subject, or what `measured` gives, written now."""
        a = self.arguments
        case: dict[str, Any] = {"subject": subject, "clip": clip}
        case |= {"weights": self.pipe.weights_hash if sampled else "", "sampling": self.sampling if sampled else None}
        case |= {"steps": a.steps, "size": a.size, "seed": a.seed}
        if case not in self.rows:
            self.rows.add(case | {"figures": measured()})
        return self.rows[case]["figures"]

    def measure(self, clip: OrbitalClip, static: OrbitalClip | None, *, front: OrbitalClip | None = None) -> dict:
        """All figures of one clip: those of its scene are from the construction that held frames out."""
        a = self.arguments
        options = {"steps": a.steps, "size": a.size, "seed": a.seed}
        views, scene = view_consistency(clip, static_clip=static, **options)
        clip = clip.resized(a.size)
        cameras, times = clip.cameras, clip.times
        return {
            "view": views,
            "static_view": None if static is None else view_consistency(static, **options)[0],
            "time": {
                "clip_by_scene_motion": scene_time_consistency(scene, cameras, times, clip=clip),
                "renders_by_scene_motion": scene_time_consistency(scene, cameras, times),
            },
            "drift_of_still_parts": None
            if front is None
            else scene_drift(scene, front.cameras, front.times, truth=front),
            "change_from_first_camera": scene_drift(scene, cameras, times),
        }

    def of_asset(self) -> dict:
        a = self.arguments
        path, name = a.data / "assets" / a.asset, f"{a.asset} {a.animation}"

        @cache
        def shot(trajectory: Literal["orbit", "static", "front"]) -> RenderedClip:
            outputs = () if trajectory == "static" else ("flow",)
            return render_clip(path, trajectory=trajectory, outputs=outputs, size=a.size, animation=a.animation)

        def measured(how: str | None) -> dict:
            orbit, static, front = (replace(shot(t), depth=None) for t in ("orbit", "static", "front"))
            return self.measure(spoilt(orbit, how, seed=a.seed) if how else orbit, static, front=front)

        def true_flow() -> dict:
            return {"orbit": true_figures(shot("orbit")), "front": true_figures(shot("front"))}

        found = {"true_flow": self.figures(name, "true flow", true_flow)}
        found["true orbit"] = self.figures(name, "true orbit", lambda: measured(None))
        for how in a.controls:
            found[how] = self.figures(name, how, lambda how=how: measured(how))
        return found

    def of_elk(self) -> dict:
        def shot(name: str) -> OrbitalClip:
            return load_clip(self.arguments.data / "elk" / f"transforms_{name}.json")

        def orbit() -> dict:
            front = shot("front").resized(self.arguments.size)
            return self.measure(shot("multi"), shot("multi_static"), front=front)

        def frozen() -> dict:
            return self.measure(replace(shot("multi_static"), times=shot("multi").times), None)

        return {"true orbit": self.figures("elk", "true orbit", orbit), "frozen": self.figures("elk", "frozen", frozen)}

    def of_samples(self, known: KnownClip) -> dict:
        """A known clip's true orbit, and clips sampled by its prompt, and by its first frame and prompt."""
        a, name = self.arguments, f"{known.asset} {known.animation}"

        def true_flow() -> dict:
            path = a.data / "assets" / known.asset
            return true_figures(render_clip(path, animation=known.animation, outputs=("flow",), size=a.size))

        def sampled(by_image: bool) -> dict:
            truth = known.orbit()
            options: dict[str, Any] = self.sampling | {"prompt": known.prompt, "seed": a.seed, "progress": False}
            if by_image:
                options["image"] = torch.cat([truth.rgb[0], truth.alpha[0]])
            return self.measure(self.pipe(**options), self.pipe(**options, static=True))

        return {
            "prompt": known.prompt,
            "true_flow": self.figures(name, "true flow, orbit", true_flow),
            "true orbit": self.figures(name, "true orbit", lambda: self.measure(known.orbit(), known.static())),
            "by prompt": self.figures(name, "by prompt", lambda: sampled(False), sampled=True),
            "by image + prompt": self.figures(name, "by image + prompt", lambda: sampled(True), sampled=True),
        }


@cache
def _pipeline(weights: Path | None) -> Orbit4DPipeline:
    return Orbit4DPipeline.from_pretrained(weights)


def main(arguments: Arguments) -> None:
    bench = Bench(arguments)
    samples = [bench.of_samples(known) for known in CLIPS[: arguments.samples]]
    figures = {arguments.asset: bench.of_asset()}
    if arguments.elk:
        figures["elk"] = bench.of_elk()
    report = {
        "benchmark": "consistency of true, spoilt and sampled clips",
        "asset": arguments.asset,
        "steps": arguments.steps,
        "size": arguments.size,
        "seed": arguments.seed,
        "sampling": bench.sampling,
        "weights_hash": bench.pipe.weights_hash if samples else None,
        "figures": figures,
        "samples": samples,
    }
    write_report(arguments.out, report)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
