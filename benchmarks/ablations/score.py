"""What a trained denoiser is asked on clips kept out of training; frame 0, which it is given, never counts."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from held_out import LOOP, Question, Split, Task, questions
from torch import Tensor, nn

from orbit4d.diffusion.autoencoder import RGBAAutoencoder
from orbit4d.diffusion.batches import LatentSet

LEVELS = (0.5, 0.7, 0.9, 0.98, 1.0)
STEPS, SHIFT = 6, 3.0


@torch.inference_mode()
def evaluate(model: nn.Module, data: LatentSet, split: Split, task: Task, decoder: RGBAAutoencoder) -> dict:
    """Losses at fixed noise, one-step estimates and samples. Decibels: higher is better; losses and degrees: lower."""
    test = questions(data, split.test, task=task, both=False)
    toys = questions(data, split.toys[::4], task=task, both=False)
    shown = questions(data, split.shown, task=task, both=True)
    losses: dict[str, float] = {}
    for t in LEVELS:  # the last level is also the one-step estimate
        answers = [(q, *_flow(model, q, t)) for q in test]
        losses[str(t)] = _mean([loss for _, loss, _ in answers])
    return {
        "flow": losses,
        "flow_toys": {"0.9": _mean([_flow(model, q, 0.9)[0] for q in toys])},
        "one_step": _pictures([(q, x) for q, _, x in answers], None),
        "sample": _pictures([(q, _sample(model, q)) for q in shown], decoder),
    }


@torch.inference_mode()
def baselines(data: LatentSet, split: Split, task: Task, decoder: RGBAAutoencoder) -> dict:
    """The same figures for an answer that repeats the picture it was given; and `noisy_views`, how well the noised truth itself
    shows its viewpoint at each level: where it does, nothing asks a network for geometry."""
    test = questions(data, split.test, task=task, both=False)
    shown = questions(data, split.shown, task=task, both=True)
    static = [q for q in test if q.static]
    noisy = {
        t: [_viewpoint(((1 - t) * q.truth + t * _noise(q))[0, 1:], q.truth[0, 1:]) for q in static] for t in LEVELS
    }
    return {
        "noisy_views": {
            str(t): {"correlation": _mean([c for c, _ in seen]), "azimuth_error_deg": _mean([d for _, d in seen])}
            for t, seen in noisy.items()
        },
        "one_step": _pictures([(q, q.truth[:, :1].expand_as(q.truth)) for q in test], None),
        "sample": _pictures([(q, q.truth[:, :1].expand_as(q.truth)) for q in shown], decoder),
    }


def _noise(q: Question) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * q.clip + 10 * q.start + q.static)
    return torch.randn(q.truth.shape, generator=generator)


def _velocity(model: nn.Module, x: Tensor, t: float, q: Question) -> Tensor:
    x = torch.cat([q.truth[:, :1], x[:, 1:]], dim=1)
    level = torch.full(x.shape[:2], t)
    level[:, 0] = 0
    return model(x, level, q.conditions)


def _flow(model: nn.Module, q: Question, t: float) -> tuple[float, Tensor]:
    """Flow-matching loss at noise level t, and the clean latents that one step estimates."""
    noise = _noise(q)
    x = (1 - t) * q.truth + t * noise
    velocity = _velocity(model, x, t, q)
    return float((velocity - (noise - q.truth))[:, 1:].square().mean()), x - t * velocity


def _sample(model: nn.Module, q: Question) -> Tensor:
    x, times = _noise(q), torch.linspace(1, 0, STEPS + 1)
    times = (SHIFT * times / (1 + (SHIFT - 1) * times)).tolist()
    for t, after in itertools.pairwise(times):
        x = x + (after - t) * _velocity(model, x, t, q)
    return x


def _pictures(answers: list[tuple[Question, Tensor]], decoder: RGBAAutoencoder | None) -> dict[str, float]:
    """Means over questions, frame 0 left out: latent PSNR (latents have unit variance: peak 1), `_viewpoint` of static views, and
    with a decoder the PSNR where the decoded true frame is opaque."""
    scores: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        scores.setdefault(name, []).append(value)

    for q, x in answers:
        mode = "static" if q.static else "moving"
        latent = -10 * math.log10(float((x - q.truth)[:, 1:].square().mean()))
        add(f"{mode}_latent_psnr", latent)
        add("unseen_start_latent_psnr" if q.start else "seen_start_latent_psnr", latent)
        correlation, degrees = _viewpoint(x[0, 1:], q.truth[0, 1:])
        add(f"{mode}_view_correlation", correlation)
        if q.static:
            add("azimuth_error_deg", degrees)
        if decoder is not None:
            seen = slice(2, None, 5)  # decoding costs as much as sampling: every fifth frame will do
            add(f"{mode}_foreground_psnr", _foreground(x[0, seen], q.truth[0, seen], decoder))
    return {k: _mean(v) for k, v in scores.items()}


def _viewpoint(x: Tensor, truth: Tensor) -> tuple[float, float]:
    """How far predicted frames differ from each other as the true ones do: both sets (f, c, h, w) are centred on their means, which
    takes away colour and average shape. Returns the mean cosine of matching frames (0 by chance, 1 perfect) and the mean
    distance in degrees to the true view that each is most like (90 by chance)."""
    a, b = (F.normalize((frames - frames.mean(0)).flatten(1), dim=1) for frames in (x, truth))
    cosine = a @ b.T
    gap = (cosine.argmax(1) - torch.arange(len(x))).abs()
    degrees = torch.minimum(gap, LOOP - gap).float().mean() * 360 / LOOP
    return float(cosine.diagonal().mean()), float(degrees)


def _foreground(x: Tensor, truth: Tensor, decoder: RGBAAutoencoder) -> float:
    """PSNR on white over the pixels where the decoded truth is mostly opaque, all frames together."""
    rgba, wanted = decoder.decode(x), decoder.decode(truth)
    error = (rgba[:, :3] + 1 - rgba[:, 3:]) - (wanted[:, :3] + 1 - wanted[:, 3:])
    inside = (wanted[:, 3:] > 0.5).expand_as(error)
    return -10 * math.log10(float(error[inside].square().mean()) + 1e-10)


def _mean(values: list[float]) -> float:
    return round(sum(values) / len(values), 5)
