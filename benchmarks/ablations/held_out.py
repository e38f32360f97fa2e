"""Which clips and azimuths are kept out of training, the batches trained on, and the fixed questions asked afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from variants import Variant

from orbit4d.diffusion.batches import LatentSet
from orbit4d.diffusion.denoiser import Conditions
from orbit4d.diffusion.text import MAX_TOKENS, encode_text

LOOP = 23
"""Distinct azimuths: view 23 of the grid repeats view 0."""
STARTS = (0, 3, 9, 12, 14, 20)
"""Start views of the phase-shifted orbits that training may use as references."""
UNSEEN_STARTS = (6, 17)


Task = Literal["orbit", "views"]
"""orbit: image to a moving orbit, with text, motion and static samples. views: one image to its static views, nothing else:
the viewpoint by itself, several times cheaper because the temporal stream stays closed."""


@dataclass(kw_only=True)
class Split:
    """Clip numbers. `test`: every fifth animation of each asset of the vocabulary; `toys`: assets never trained on."""

    train: Tensor
    test: list[int]
    toys: list[int]
    shown: list[int]
    """The first test clip of each asset, for samples and pictures."""


def split_clips(data: LatentSet) -> Split:
    train, test, toys, shown, count = [], [], [], [], {}
    for i, clip in enumerate(data.clips):
        asset = clip["key"].rsplit("__", 1)[0]
        if clip["kind"].startswith("toy "):
            toys.append(i)
            continue
        number = count[asset] = count.get(asset, -1) + 1
        (test if number % 5 == 2 else train).append(i)
        if number == 2:
            shown.append(i)
    return Split(train=torch.tensor(train), test=test, toys=toys, shown=shown)


def orbit_pairs(start: int) -> tuple[Tensor, Tensor]:
    """Views and times of the 24-frame orbit from view `start`; its first frame is the reference."""
    i = torch.arange(LOOP + 1)
    return (i if start == 0 else (i + start) % LOOP), i


def ring_pairs(start: int) -> tuple[Tensor, Tensor]:
    """All 23 views at time 0, `start` first."""
    views = (torch.arange(LOOP) + start) % LOOP
    return views, torch.zeros_like(views)


def sample_batch(
    data: LatentSet, split: Split, variant: Variant, task: Task, generator: torch.Generator
) -> tuple[Tensor, Tensor, Conditions, Tensor]:
    """As `batches.sample_batch`, with references at any training azimuth: x0, still, conditions, reference mask.

    For "orbit" a quarter of the batch is static, three quarters have a reference and moving samples are mostly orbits. For
    "views" all are static with a reference and without text.
    """

    def chance(share: float) -> bool:
        return bool(torch.rand((), generator=generator) < share)

    def one_of(values: Tensor) -> int:
        return int(values[torch.randint(len(values), (), generator=generator)])

    weights = data.weights[split.train]
    near = {s + d for s in UNSEEN_STARTS for d in (-1, 0, 1)}
    ring_starts = torch.tensor([v for v in range(LOOP) if v not in near])
    clips, views, times, prompts, motion, references = [], [], [], [], [], []
    frozen = torch.arange(variant.batch) < variant.batch // 4
    if task == "views":
        frozen[:] = True
    elif variant.batch < 4:  # too few samples to give a quarter of each batch away
        frozen = torch.tensor([chance(0.25) for _ in range(variant.batch)])
    for i in range(variant.batch):
        clip = int(split.train[torch.multinomial(weights, 1, generator=generator)])
        with_reference, static = task == "views" or chance(0.75), bool(frozen[i])
        v, j = ring_pairs(one_of(ring_starts)) if static else orbit_pairs(one_of(torch.tensor(STARTS)))
        if not static and variant.frames < len(v) and chance(0.3):
            rows = data.rows[clip]
            any_pairs = data.pairs[rows[torch.randperm(len(rows), generator=generator)[: variant.frames]]]
            v, j = torch.cat([v[:1], any_pairs[:, 0]]), torch.cat([j[:1], any_pairs[:, 1]])
        order = torch.randperm(len(v) - 1, generator=generator) + 1
        rest = variant.frames - 1
        order = torch.cat([torch.zeros(1, dtype=torch.long), order.repeat(1 + rest // len(order))[:rest]])
        clips.append(clip)
        views.append(v[order])
        times.append(j[order])
        wordings = data.clips[clip]["captions"]
        mute = task == "views" or chance(0.5 if with_reference else 0.1)
        prompts.append("" if mute else wordings[one_of(torch.arange(len(wordings)))])
        hidden = chance(0.3) or static or not variant.motion_condition
        motion.append(float("nan") if hidden else float(data.motion[clip]))
        references.append(with_reference)
    view, time, row = torch.stack(views), torch.stack(times), torch.tensor(clips)[:, None]
    reference = torch.zeros(view.shape, dtype=torch.bool)
    reference[:, 0] = torch.tensor(references)
    text, text_mask = encode_text(prompts, pad_to=MAX_TOKENS)
    conditions = Conditions(
        plucker=data.rays[view],
        times=data.times[time],
        text=text,
        text_mask=text_mask,
        motion=torch.tensor(motion),
        reference=reference,
        static_mode=frozen,
    )
    still = data.latents[data.index[row, view, torch.zeros_like(view)]].float()
    return data.latents[data.index[row, view, time]].float(), still, conditions, reference


@dataclass(kw_only=True)
class Question:
    """One image->4D (or, static, image->views) task: `truth` (1, f, c, h, w), whose first frame is given."""

    clip: int
    start: int
    static: bool
    truth: Tensor
    conditions: Conditions


def ask(data: LatentSet, clip: int, start: int, *, static: bool) -> Question:
    """No text and no motion: only the picture, the cameras and the times."""
    v, j = ring_pairs(start) if static else orbit_pairs(start)
    reference = torch.zeros(1, len(v), dtype=torch.bool)
    reference[:, 0] = True
    conditions = Conditions(
        plucker=data.rays[v][None],
        times=data.times[j][None],
        reference=reference,
        static_mode=torch.tensor([static]),
    )
    truth = data.latents[data.index[clip, v, j]].float()[None]
    return Question(clip=clip, start=start, static=static, truth=truth, conditions=conditions)


def questions(data: LatentSet, clips: list[int], *, task: Task, both: bool) -> list[Question]:
    """Each clip from a trained start or from one kept out, in turn. For "orbit" moving or static in turn, or `both`."""
    found = []
    for n, clip in enumerate(clips):
        start = (0, UNSEEN_STARTS[n // 4 % 2])[n // 2 % 2]
        modes = (True,) if task == "views" else (False, True) if both else (n % 2 == 1,)
        found += [ask(data, clip, start, static=static) for static in modes]
    return found
