"""What a trained student is asked about assets that nothing was trained on, and how the answers are scored.

image -> 4D: the picture of view 0 at time 0, no words, no motion; 24 frames of the orbit. Frame 0 is given and never counts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from orbit4d.clip import OrbitalClip
from orbit4d.data.sample_set import SampleSet
from orbit4d.diffusion.autoencoder import RGBAAutoencoder, unpremultiply
from orbit4d.diffusion.batches import LatentSet
from orbit4d.diffusion.denoiser import Conditions, Denoiser
from orbit4d.errors import InputError
from orbit4d.evaluate.consistency import scene_time_consistency, view_consistency
from orbit4d.evaluate.fvd import sample_distance
from orbit4d.evaluate.metrics import foreground_psnr, psnr, ssim

LEVELS = (0.5, 0.7, 0.9, 0.98)
SHIFT = 3.0
SCORING = 2
"""Raised whenever what is scored changes, so that older rows stand in tables of their own. 2: the last frame, which may repeat
the given one, is left out; Frechet distances of resampled assets."""
RESAMPLED = 200
POOLED = 4
"""Latents are averaged to 4 x 4 for the Frechet distances: 192 numbers a frame."""


def conditions(data: LatentSet, clip: int, views: Tensor, times: Tensor, *, static: bool = False) -> Conditions:
    """Only cameras, times and which frame is given: the first."""
    reference = torch.zeros(1, len(views), dtype=torch.bool)
    reference[:, 0] = True
    return Conditions(
        plucker=data.camera_rays[data.camera_set[clip]][views][None],
        times=torch.zeros(1, len(views)) if static else data.times[times][None],
        reference=reference,
        static_mode=torch.tensor([static]),
    )


def noise_of(truth: Tensor, clip: int, kind: int) -> Tensor:
    return torch.randn(truth.shape, generator=torch.Generator().manual_seed(10 * clip + kind))


def velocity(model: Denoiser, x: Tensor, t: float, truth: Tensor, c: Conditions) -> Tensor:
    x = torch.cat([truth[:, :1], x[:, 1:]], dim=1)
    level = torch.full(x.shape[:2], t)
    level[:, 0] = 0
    return model(x, level, c)


def losses(model: Denoiser, truth: Tensor, c: Conditions, clip: int, kind: int) -> dict[str, float]:
    """Flow-matching loss at fixed levels with fixed noise, frame 0 left out."""
    noise = noise_of(truth, clip, kind)
    found = {}
    for t in LEVELS:
        error = velocity(model, (1 - t) * truth + t * noise, t, truth, c) - (noise - truth)
        found[str(t)] = round(float(error[:, 1:].square().mean()), 5)
    return found


def sampled(model: Denoiser, truth: Tensor, c: Conditions, clip: int, *, steps: int) -> Tensor:
    x, levels = noise_of(truth, clip, 0), torch.linspace(1, 0, steps + 1)
    levels = (SHIFT * levels / (1 + (SHIFT - 1) * levels)).tolist()
    for t, after in itertools.pairwise(levels):
        x = x + (after - t) * velocity(model, x, t, truth, c)
    return torch.cat([truth[:, :1], x[:, 1:]], dim=1)


def pooled(latents: Tensor) -> Tensor:
    """(f, c, h, w) -> (f, c POOLED^2): the fixed feature space, that of the autoencoder."""
    return functional.adaptive_avg_pool2d(latents.float(), POOLED).flatten(1)


@torch.inference_mode()
def evaluate(
    model: Denoiser,
    data: LatentSet,
    samples: SampleSet,
    decoder: RGBAAutoencoder,
    *,
    steps: int,
    consistency: int,
    construction: int,
) -> dict[str, Any]:
    """Figures by asset, Frechet distances over all of them and over resampled ones, and pictures (assets, 2, 24, 3, h, w), truth
    and sample."""
    by_asset: dict[str, dict[str, Any]] = {}
    features: dict[str, list[Tensor]] = {"true": [], "made": [], "true_motion": [], "made_motion": []}
    shown = []
    for clip, meta in enumerate(data.clips):
        along = torch.arange(data.count)
        truth = data.latents[data.index[clip, along, along]].float()[None]
        c = conditions(data, clip, along, along)
        made = sampled(model, truth, c, clip, steps=steps)
        figures: dict[str, Any] = {"loss": losses(model, truth, c, clip, 0)}
        figures |= forgetting(model, data, clip)
        true_clip = samples[str(meta["key"])].clip([(i % (data.count - 1), i) for i in range(data.count)])
        rgba = decoder.decode(made[0]).clamp(0, 1)
        frames, wanted = rgba[:, :3] + 1 - rgba[:, 3:], true_clip.on_background(1.0)
        figures |= pictures(frames.clamp(0, 1), wanted, true_clip.alpha)
        if clip < consistency:
            with torch.inference_mode(False), torch.enable_grad():
                figures["consistency"] = consistent(rgba.clone(), true_clip, steps=construction)
        by_asset[str(meta["key"])] = figures
        for name, latents in (("true", truth[0]), ("made", made[0])):
            features[name].append(pooled(latents[1:]))
            features[f"{name}_motion"].append(pooled(latents.diff(dim=0)))
        shown.append(torch.stack([wanted, frames.clamp(0, 1)]))
    found = {
        "frames": frechet(features["true"], features["made"]),
        "motion": frechet(features["true_motion"], features["made_motion"]),
    }
    return {
        "assets_scored": by_asset,
        "frechet": {kind: whole for kind, (whole, _) in found.items()},
        "frechet_resampled": {kind: draws for kind, (_, draws) in found.items()},
        "pictures": torch.stack(shown[:8]),
    }


def frechet(true: list[Tensor], made: list[Tensor], *, draws: int = RESAMPLED) -> tuple[float, list[float]]:
    """The Frechet distance of features (frames, d) an asset; and those of assets drawn with replacement, the same ones for every
    model, so that differences can be paired."""
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randint(len(true), (draws, len(true)), generator=generator).tolist()

    def distance(assets: Iterable[int]) -> float:
        assets = list(assets)
        return round(sample_distance(torch.cat([true[i] for i in assets]), torch.cat([made[i] for i in assets])), 4)

    return distance(range(len(true))), [distance(assets) for assets in chosen]


def pictures(frames: Tensor, wanted: Tensor, alpha: Tensor) -> dict[str, float | None]:
    """Against the rendered truth, without frame 0 and the last, which shows frame 0's view again and, where the motion is a loop,
    is the same picture; None where a figure does not exist."""
    frames, wanted, given, alpha = frames[1:-1], wanted[1:-1], wanted[:1], alpha[1:-1]
    scores = {
        "foreground_psnr": float(foreground_psnr(frames, wanted, alpha).nanmean()),
        "psnr": float(psnr(frames, wanted).mean()),
        "ssim": float(ssim(frames, wanted).mean()),
    }
    repeated = foreground_psnr(given.expand_as(wanted), wanted, alpha).nanmean()
    scores["repeat_foreground_psnr"] = float(repeated)
    return {name: round(value, 4) if math.isfinite(value) else None for name, value in scores.items()}


def forgetting(model: Denoiser, data: LatentSet, clip: int) -> dict[str, Any]:
    """The teachers' own tasks on a held-out asset: its static orbit with the temporal gate closed, and its front video. The same
    noise for every model, so that a student stands beside the teachers themselves."""
    along = torch.arange(data.count)
    row = data.latents[data.still[clip, along]].float()[None]
    view = torch.full_like(along, int(data.full_columns[clip].nonzero()[0, 0]))
    column = data.latents[data.index[clip, view, along]].float()[None]
    return {
        "row_loss": losses(model, row, conditions(data, clip, along, along, static=True), clip, 1),
        "column_loss": losses(model, column, conditions(data, clip, view, along), clip, 2),
    }


def consistent(rgba: Tensor, truth: OrbitalClip, *, steps: int) -> dict[str, Any]:
    """Do the frames show one object that moves as surfaces do? By a short construction, see `evaluate.consistency`."""
    rgb, alpha = unpremultiply(rgba)
    clip = replace(truth, rgb=rgb, alpha=alpha, depth=None)
    try:
        views, scene = view_consistency(clip, steps=steps, size=64)
    except (InputError, ValueError) as error:  # a sample may be empty: no figure, and the reason is kept
        return {"view_psnr": None, "why": " ".join(str(error).split())[:120]}
    small = clip.resized(64)
    return {
        "view_psnr": views["held_out_foreground_psnr"],
        "time": scene_time_consistency(scene, small.cameras, small.times, clip=small),
    }
