"""Consistency figures of true clips, of clips spoilt on purpose, and of a sampled clip.

    python benchmarks/consistency.py --out benchmarks/results/consistency.json

Two objects: one animated asset, rendered with depth and true scene flow, and Diffusion4D's elk. Of each clip: view
consistency (every 4th frame held out of a short construction; also of the static orbit alone), time consistency (warp error
by the scene's own motion, and, where the renderer knows it, by the true flow), and drift of what stands still. Controls, made
from the true orbit (its static orbit stays true): `light` (every frame's brightness off by up to 10 %), `shifted` (every
frame off by up to 2 pixels), `swapped` (neighbouring frames change places). `frozen` is the elk's static orbit with times that
run: nothing moves, so all that moves is an artefact.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import tyro
from shared import DATA, write_report

from orbit4d.clip import OrbitalClip, load_clip
from orbit4d.data.render import RenderedClip, render_clip
from orbit4d.evaluate.consistency import (
    SurfaceMotion,
    scene_drift,
    scene_time_consistency,
    view_consistency,
    warp_error,
)


@dataclass(kw_only=True)
class Arguments:
    data: Path = DATA
    """Folder with assets/ and elk/."""
    asset: str = "q_platformer_game_Enemy.glb"
    """File in assets/."""
    animation: str | None = "Dance"
    caption: str = "a round green horned monster dancing"
    """Prompt of the sampled clip."""
    out: Path | None = None
    """JSON report; printed only when left out."""
    steps: int = 400
    """Of each construction."""
    size: int = 128
    seed: int = 0
    controls: tuple[Literal["light", "shifted", "swapped"], ...] = ("light", "shifted", "swapped")
    """Ways in which the true orbit is spoilt."""
    sample: bool = True
    """Sample an orbit by prompt with the built-in model, and measure it too."""


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


def measure(
    clip: OrbitalClip, static: OrbitalClip | None, arguments: Arguments, *, front: OrbitalClip | None = None
) -> dict:
    """All figures of one clip: those of its scene are from the construction that held frames out."""
    views, scene = view_consistency(
        clip, static_clip=static, steps=arguments.steps, size=arguments.size, seed=arguments.seed
    )
    clip = clip.resized(arguments.size)
    cameras, times = clip.cameras, clip.times
    report = {
        "view": views,
        "static_view": None
        if static is None
        else view_consistency(static, steps=arguments.steps, size=arguments.size, seed=arguments.seed)[0],
        "time": {
            "clip_by_scene_motion": scene_time_consistency(scene, cameras, times, clip=clip),
            "renders_by_scene_motion": scene_time_consistency(scene, cameras, times),
        },
        "drift_of_still_parts": None if front is None else scene_drift(scene, front.cameras, front.times, truth=front),
        "change_from_first_camera": scene_drift(scene, cameras, times),
    }
    print(json.dumps(report), flush=True)
    return report


def true_figures(clip: RenderedClip) -> dict:
    """The warp error of a rendered clip by the renderer's own depth and flow: what a perfect clip of this object gets."""
    assert clip.depth is not None and clip.flow is not None
    motion = SurfaceMotion(depth=clip.depth, flow=clip.flow, cameras=clip.cameras)
    return warp_error(clip.on_background(), clip.alpha, motion)


def of_asset(arguments: Arguments) -> dict:
    path = arguments.data / "assets" / arguments.asset
    options = {"size": arguments.size, "animation": arguments.animation}
    orbit, front = (render_clip(path, trajectory=t, outputs=("flow",), **options) for t in ("orbit", "front"))
    static = render_clip(path, trajectory="static", **options)
    figures = {"true_flow": {"orbit": true_figures(orbit), "front": true_figures(front)}}
    plain = replace(front, depth=None)
    figures["true orbit"] = measure(replace(orbit, depth=None), static, arguments, front=plain)
    for how in arguments.controls:
        figures[how] = measure(
            spoilt(replace(orbit, depth=None), how, seed=arguments.seed), static, arguments, front=plain
        )
    if arguments.sample:
        figures["sampled"] = of_sample(arguments)
    return figures


def of_sample(arguments: Arguments) -> dict:
    """An orbit and its static orbit by prompt, with the settings of `orbit4d generate`."""
    from orbit4d.diffusion.pipeline import Orbit4DPipeline

    pipe = Orbit4DPipeline.from_pretrained(None)
    options = {
        "prompt": arguments.caption,
        "guidance_scale": 2.0,
        "guidance_3d": 0.5,
        "steps": 20,
        "seed": arguments.seed,
    }
    clip, static = (pipe(**options, static=frozen, progress=False) for frozen in (False, True))
    return {"prompt": arguments.caption} | measure(clip, static, arguments)


def of_elk(arguments: Arguments) -> dict:
    orbit, static, front = (
        load_clip(arguments.data / "elk" / f"transforms_{name}.json") for name in ("multi", "multi_static", "front")
    )
    front = front.resized(arguments.size)
    return {
        "true orbit": measure(orbit, static, arguments, front=front),
        "frozen": measure(replace(static, times=orbit.times), None, arguments),
    }


def main(arguments: Arguments) -> None:
    report = {
        "benchmark": "consistency of true, spoilt and sampled clips",
        "asset": arguments.asset,
        "steps": arguments.steps,
        "size": arguments.size,
        "seed": arguments.seed,
        "figures": {arguments.asset: of_asset(arguments), "elk": of_elk(arguments)},
    }
    write_report(arguments.out, report)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
