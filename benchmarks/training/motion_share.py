"""How much of the motion a denoiser knows before it sees any of it.

    python benchmarks/training/motion_share.py --latents RUN/latents --models src/orbit4d/weights/std4d-s RUN/denoiser

One clip each of 16 characters, the front view at seven times, noise level t = 1: what the network makes of pure noise is the mean
of what it thinks possible. Its change over time P (each frame minus the mean of the seven) beside the true one T, over all clips:

    slope      <P, T> / <T, T>: the share of the motion that is there; 1 is all of it
    cosine     <P, T> / |P| |T|
    explained  1 - |P - T|^2 / |T|^2
    x0         squared error of the frames themselves, as a share of their variance

`text`: given words and the amount of motion; `static`: and the object at time 0 from the same view. Seconds a model.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from long_run import main_clips

from orbit4d.data.latent_set import LatentClip, open_latents
from orbit4d.diffusion.batches import LatentSet
from orbit4d.diffusion.denoiser import Conditions, Denoiser
from orbit4d.diffusion.hub import BUILT_IN
from orbit4d.files import atomic_path

FRAMES = 7
LEAST_M = 0.004
"""Clips that move less are left out."""


@dataclass(kw_only=True)
class Arguments:
    latents: Path
    models: tuple[Path, ...] = (BUILT_IN,)
    """Folders that hold a denoiser/."""
    characters: int = 16
    main_motions: int = 0
    """Only of clips that long_run.py favours with the same number; 0: of any."""
    seed: int = 1
    """Which clip of each character."""
    out: Path | None = None


def main(a: Arguments) -> None:
    torch.set_num_threads(1)
    data = LatentSet(chosen(a))
    record = json.loads((BUILT_IN / "pipeline.json").read_text())
    found = []
    for folder in a.models:
        model = Denoiser.from_pretrained(folder / "denoiser", low_cpu_mem_usage=False).eval().float()
        figures = {mode: share(model, data, record, static=mode == "static") for mode in ("text", "static")}
        found.append({"model": str(folder), "clips": len(data.clips)} | figures)
        print(json.dumps(found[-1]), flush=True)
    if a.out is not None:
        with atomic_path(a.out) as temporary:
            temporary.write_text(json.dumps(found, indent=1))


def chosen(a: Arguments) -> list[LatentClip]:
    """One clip of each of the first characters, in an order that the seed draws."""
    store = open_latents(a.latents)
    keys = [key for key in store.keys if "-d" not in key and not key.startswith("toy")]
    random.Random(a.seed).shuffle(keys)
    where = {key: i for i, key in enumerate(store.keys)}
    clips = [store[where[key]] for key in keys]
    if a.main_motions:
        favoured = main_clips([clip.meta for clip in clips], a.main_motions)
        clips = [clip for clip in clips if clip.key in favoured]
    found: dict[str, LatentClip] = {}
    for clip in clips:
        if clip.meta["motion_magnitude"] >= LEAST_M:
            found.setdefault(str(clip.meta["kind"]), clip)
    return list(found.values())[: a.characters]


@torch.inference_mode()
def share(model: Denoiser, data: LatentSet, record: dict, *, static: bool) -> dict[str, float]:
    times = torch.linspace(0, data.count - 1, FRAMES).long()
    view = torch.zeros(FRAMES, dtype=torch.long)
    both = true = made = wrong = spread = 0.0
    for i in range(len(data.clips)):
        truth = data.latents[data.index[i, view, times]].float()[None]
        c = conditions(data, i, view, times, record)
        if static:
            still = data.latents[data.still[i, view]].float()[None]
            c = replace(c, static_latents=still, static_mask=torch.tensor([True]))
        noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(i))
        x0 = noise - model(noise, torch.ones(1, FRAMES), c)
        p, t = (x - x.mean(1, keepdim=True) for x in (x0, truth))
        both, true, made = both + float((p * t).sum()), true + float(t.square().sum()), made + float(p.square().sum())
        wrong += float((x0 - truth).square().sum())
        spread += float((truth - truth.mean((0, 1, 3, 4), keepdim=True)).square().sum())
    figures = {"slope": both / true, "cosine": both / math.sqrt(true * made), "explained": (2 * both - made) / true}
    return {name: round(value, 4) for name, value in (figures | {"x0": wrong / spread}).items()}


def conditions(data: LatentSet, clip: int, views: torch.Tensor, times: torch.Tensor, record: dict) -> Conditions:
    meta = data.clips[clip]
    text, mask = data.encode([meta["captions"][0]])
    motion = (math.log(meta["motion_magnitude"]) - record["log_m_mean"]) / record["log_m_std"]
    return Conditions(
        plucker=data.camera_rays[data.camera_set[clip]][views][None],
        times=data.times[times][None],
        text=text,
        text_mask=mask,
        motion=torch.tensor([motion]),
        reference=torch.zeros(1, len(views), dtype=torch.bool),
        static_mode=torch.tensor([False]),
        active=torch.arange(1),
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
