"""Make the README's pictures: what the built-in model generates, and a reconstruction beside the truth.

    python benchmarks/pictures.py --out docs/images

generated.webp: three prompts, uncurated (seed 0), the scene from an orbiting camera while it moves.
reconstructed.webp: an animated asset, constructed from its orbit and static orbit, from a fixed camera
that was not in the input; left the asset itself, right the Gaussians.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from shared import DATA

from orbit4d.cameras import Orbit
from orbit4d.data.render import render_clip
from orbit4d.evaluate.evaluate import render_scene
from orbit4d.export.video import write_video
from orbit4d.pipeline import generate, reconstruct
from orbit4d.splat.io import load_scene

PROMPTS = {"fox": "a fox running", "robot": "a robot dancing", "clownfish": "a clownfish swimming"}
"""Cases of benchmarks/generate.py, and their prompts."""
ASSET, ANIMATION = "kaykit_Barbarian.glb", "Running_A"
"""KayKit Adventurers by Kay Lousberg (www.kaylousberg.com), CC0-1.0."""


@dataclass(kw_only=True)
class Arguments:
    out: Path = Path("docs/images")
    weights: Path | None = None
    """Another model; the built-in one when left out."""
    generated: Path | None = None
    """The folder of assets that benchmarks/generate.py has made; they are generated again when left out."""
    frames: int = 46
    side: int = 224
    only: tuple[str, ...] = ("generated", "reconstructed")


def main(arguments: Arguments) -> None:
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        if "generated" in arguments.only:
            columns = []
            for case, prompt in PROMPTS.items():
                folder = (arguments.generated or Path(temporary)) / case
                if arguments.generated is None:
                    generate(prompt=prompt, out=folder, weights=arguments.weights)
                orbit = Orbit(frames=arguments.frames + 1)
                times = (torch.arange(arguments.frames) * 2 / arguments.frames) % 1
                cameras = orbit.cameras(arguments.side)[list(range(arguments.frames))]
                columns.append(render_scene(load_scene(folder / "scene.safetensors"), cameras, times)[0])
            write_video(torch.cat(columns, dim=-1), arguments.out / "generated.webp")
        if "reconstructed" in arguments.only:
            asset = DATA / "assets" / ASSET
            orbit, still = (
                render_clip(asset, trajectory=t, animation=ANIMATION, size=256) for t in ("orbit", "static")
            )
            reconstruct(orbit, static_clip=still, out=Path(temporary) / "r")
            front = render_clip(
                asset, trajectory="front", azimuth=52, animation=ANIMATION, size=2 * arguments.side, frames=24
            )
            drawn, _ = render_scene(load_scene(Path(temporary) / "r" / "scene.safetensors"), front.cameras, front.times)
            write_video(torch.cat([front.on_background(), drawn], dim=-1), arguments.out / "reconstructed.webp")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
