"""The built-in model's long training on a CPU: all of its motions, the main ones of every character most of the time.

    python benchmarks/training/long_run.py --latents RUN/latents --out RUN/denoiser --steps 2000
    torchrun --nproc-per-node 2 benchmarks/training/long_run.py ...        # one process a core, each half of a batch

RUN/latents is what `orbit4d train s --stage data` and `--stage latents` made with the package's autoencoder; `--init` another
model's folder than the package's. A killed run goes on from its checkpoint; the learning rate falls to zero over the last quarter.

Motion is learned last, and clip by clip: by how often each was seen. Weights of clips are what decides it here; README.md has
the measurements.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro

from orbit4d.diffusion.batches import LatentSet, undamped_key
from orbit4d.diffusion.hub import BUILT_IN
from orbit4d.diffusion.presets import PRESETS
from orbit4d.diffusion.train import started
from orbit4d.diffusion.train_denoiser import DenoiserConfig, train_denoiser

MAIN_MOTIONS = (
    "walking", "running", "swimming fast", "swimming", "flying", "jumping", "dancing", "attacking", "dying", "bouncing", "punching",
    "waving", "leaping", "attacking with a sword", "cheering",
)  # fmt: skip
"""In order of preference: the first few that a character has are its main ones."""


@dataclass(kw_only=True)
class Arguments:
    latents: Path
    out: Path
    init: Path = BUILT_IN
    """Weights to start from: a folder as `--weights` takes it."""
    steps: int = 8000
    lr: float = 6e-4
    batch: int = 16
    main_motions: int = 4
    """Of each character; 0 weighs all clips alike."""
    main_weight: float = 9.0
    """What clips of the main motions are weighed with, besides what a `LatentSet` weighs them with."""
    image_share: float = 0.2
    """Samples that are shown one clean frame; `drop_text_shown` of these are told no words. A model that is to draw from a picture
    alone has to be asked for that."""
    drop_text_shown: float = 0.5
    only: Literal["all", "temporal"] = "all"
    """temporal: the spatial stream stays as it is; a step takes half the time."""
    compile: bool = True
    save_every: int = 100
    seed: int = 0


def main(a: Arguments) -> None:
    torch.set_num_threads(1)
    torch._dynamo.config.optimize_ddp = False  # one graph, as on one process
    latents = weighed(LatentSet(a.latents), a)
    config = DenoiserConfig(
        steps=a.steps,
        batch=a.batch,
        lr=a.lr,
        save_every=a.save_every,
        compile=a.compile,
        seed=a.seed,
        static_share=0.0 if a.only == "temporal" else 0.125,
        drop_motion=0.12,
        image_share=a.image_share,
        drop_text_shown=a.drop_text_shown,
        drop_all=0.05,
        toy_share=0.04,
    )
    torch.manual_seed(a.seed)
    model = started(PRESETS["s"]().make_denoiser, a.init)
    if a.only == "temporal":
        model.spatial.requires_grad_(False)
        model.lifts.requires_grad_(False)
    train_denoiser(latents, a.out, config=config, model=model, autoencoder=BUILT_IN / "autoencoder")


def weighed(latents: LatentSet, a: Arguments) -> LatentSet:
    """The set with the clips' weights changed in place."""
    chosen = main_clips(latents.clips, a.main_motions)
    for i, clip in enumerate(latents.clips):
        if undamped_key(clip) in chosen:
            latents.weights[i] *= a.main_weight
    return latents


def main_clips(clips: Iterable[dict], count: int) -> set[str]:
    """Keys of the `count` main motions of every character, the liveliest clip of each."""
    found: dict[tuple[str, str], dict] = {}
    for clip in clips:
        kind, caption = str(clip["kind"]), str(clip["captions"][0])
        motion = caption.removeprefix(kind).strip()
        if motion not in MAIN_MOTIONS or kind.startswith("toy ") or clip.get("damped"):
            continue
        best = found.get((kind, motion))
        if best is None or clip["motion_magnitude"] > best["motion_magnitude"]:
            found[kind, motion] = clip
    kinds = {kind for kind, _ in found}
    ordered = {kind: [m for m in MAIN_MOTIONS if (kind, m) in found][:count] for kind in kinds}
    return {str(found[kind, motion]["key"]) for kind, motions in ordered.items() for motion in motions}


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
