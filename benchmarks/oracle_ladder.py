"""Which stage limits the result? The oracle ladder, for assets of the model's vocabulary.

    python benchmarks/oracle_ladder.py --out benchmarks/results/oracle_ladder.json --pictures out/ladder

Every rung constructs a scene from one orbit and one static orbit at 128 x 128 and is scored against renders of the asset
that no rung has seen: `front` (azimuth 52 degrees, all times) and `opposite` (the orbit started from behind).

1. ground truth orbit -> fit: what construction loses.
2. the same through the autoencoder -> fit: what the latents lose.
3. sampled orbit -> fit: what the denoiser loses, given the prompt alone; given an image (view 0, time 0) and the prompt;
   given the static orbit and the prompt.
4. sampled K orbits (one joint sample) -> fit.

`clip` scores the frames that a rung hands to the fit against the ground truth orbit. A prompt does not fix pose and phase,
so scores of the prompt-only rungs are strict: anything but the training asset's own motion counts as wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from shared import DATA, frame_scores, row, save_sheet, scene_row, score, write_report

from orbit4d.clip import OrbitalClip
from orbit4d.data.render import render_clip
from orbit4d.diffusion.autoencoder import premultiply, unpremultiply
from orbit4d.diffusion.pipeline import Orbit4DPipeline
from orbit4d.splat.fit import FitConfig, fit

CASES = [
    ("q_animals_Fox.glb", "Gallop", "a fox running"),
    ("raylib_robot.glb", "Dance", "a robot dancing"),
]
SHOWN = list(range(0, 24, 3))


@dataclass(kw_only=True)
class Arguments:
    out: Path | None = None
    """JSON report; printed only when left out."""
    pictures: Path | None = None
    """Folder for a sheet an asset: the front view, truth first, then one row a rung."""
    weights: Path | None = None
    """Another model; the built-in one when left out."""
    steps: int = 20
    """Sampling steps."""
    guidance_scale: float = 2.0
    guidance_3d: float = 0.5
    orbits: int = 2
    """K of the last rung."""
    seed: int = 0


@torch.inference_mode()
def through_autoencoder(pipe: Orbit4DPipeline, clip: OrbitalClip) -> OrbitalClip:
    latents = pipe.autoencoder.encode(premultiply(clip.rgb, clip.alpha))
    rgb, alpha = unpremultiply(pipe.autoencoder.decode(latents))
    return replace(clip, rgb=rgb, alpha=alpha, depth=None)


def main(arguments: Arguments) -> None:
    pipe = Orbit4DPipeline.from_pretrained(arguments.weights)
    options = {
        "steps": arguments.steps,
        "guidance_scale": arguments.guidance_scale,
        "guidance_3d": arguments.guidance_3d,
        "seed": arguments.seed,
        "progress": False,
    }
    results = []
    for name, animation, prompt in CASES:
        path = DATA / "assets" / name

        def shot(trajectory: str, azimuth: float = 0.0, path: Path = path, animation: str = animation) -> OrbitalClip:
            return render_clip(path, trajectory=trajectory, azimuth=azimuth, animation=animation)  # type: ignore[arg-type]

        truth, still, front, opposite = shot("orbit"), shot("static"), shot("front", 52.0), shot("orbit", 180.0)
        image = torch.cat([truth.rgb[0], truth.alpha[0]])
        frozen = pipe(prompt=prompt, static=True, **options)
        frozen_image = pipe(prompt=prompt, image=image, static=True, **options)
        rungs = {
            "ground truth": (truth, still),
            "autoencoder round trip": (through_autoencoder(pipe, truth), through_autoencoder(pipe, still)),
            "sampled, prompt": (pipe(prompt=prompt, **options), frozen),
            "sampled, image + prompt": (pipe(prompt=prompt, image=image, **options), frozen_image),
            "sampled, static 3D + prompt": (pipe(prompt=prompt, static_clip=still, **options), still),
            f"sampled {arguments.orbits} orbits, prompt": (
                pipe(prompt=prompt, orbits=arguments.orbits, **options),
                frozen,
            ),
            f"sampled {arguments.orbits} orbits, static 3D + prompt": (
                pipe(prompt=prompt, static_clip=still, orbits=arguments.orbits, **options),
                still,
            ),
        }
        entry: dict = {"asset": name, "animation": animation, "prompt": prompt, "rungs": {}}
        sheet = [row(front.on_background(), SHOWN)]
        for rung, (clip, static) in rungs.items():
            result = fit(clip, static_clip=static, config=FitConfig.for_size(128), progress=False)
            n = len(truth)
            entry["rungs"][rung] = {
                "clip": None
                if clip is truth
                else frame_scores(clip.on_background()[:n], truth.on_background(), truth.alpha),
                "front": score(result.scene, front),
                "opposite": score(result.scene, opposite),
            }
            sheet.append(scene_row(result.scene, front, SHOWN))
            print(prompt, "|", rung, entry["rungs"][rung], flush=True)
        if arguments.pictures is not None:
            save_sheet(sheet, arguments.pictures / f"{Path(name).stem}.png")
        results.append(entry)
    write_report(
        arguments.out,
        {
            "benchmark": "oracle ladder",
            "size": 128,
            "sampling": {k: v for k, v in options.items() if k != "progress"},
            "weights_hash": pipe.weights_hash,
            "assets": results,
        },
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
