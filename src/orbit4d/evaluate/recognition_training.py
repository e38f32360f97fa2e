"""Training of the recogniser on decoded real clips, and its figures on those that it was not trained on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from .recognition import (
    FRAMES,
    SIZE,
    TOY,
    Classes,
    Judgement,
    Label,
    Recogniser,
    accuracies,
    chance,
    judge,
    network_input,
)
from .recognition_data import RealClip, scrambled

SHIFT, SCALE = 0.1, 0.15
"""Largest shift (of half the frame) and change of size of an augmented clip."""


@dataclass(kw_only=True)
class Settings:
    """How a recogniser is trained. `frames`: random frames of a clip that a step looks at; all are looked at in tests."""

    steps: int = 900
    batch: int = 32
    frames: int = 12
    lr: float = 3e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    motion_weight: float = 2.0
    toy_share: float = 0.2
    """Of what is drawn, where there are toys and others."""
    seed: int = 0
    width: int = 24
    dim: int = 128
    layers: int = 2

    def __post_init__(self) -> None:
        if not 2 <= self.frames <= FRAMES:
            raise InputError(f"--frames: expected 2 to {FRAMES}, got {self.frames}")
        if self.steps < 1 or self.batch < 2:
            raise InputError(f"--steps, --batch: expected at least 1 and 2, got {self.steps} and {self.batch}")


def augmented(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Premultiplied frames (n, f, 4, s, s), each clip with its own shift, size, colours, blur and noise; the same in all frames.

    Blur, noise and lost frames stand for what a generated clip may get wrong without showing another thing.
    """
    n, f = frames.shape[:2]

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = uniform(1 - SCALE, 1 + SCALE, n)
    theta[:, :, 2] = uniform(-SHIFT, SHIFT, n, 2)
    grid = functional.affine_grid(theta, [n, 4, SIZE, SIZE], align_corners=False)
    x = functional.grid_sample(frames.flatten(1, 2), grid, align_corners=False).view_as(frames)
    softened = torch.rand(n, generator=generator)
    for i in range(n):
        if softened[i] < 0.5:
            side = int(torch.randint(20, 48, (), generator=generator))
            small = functional.interpolate(x[i], size=(side, side), mode="area")
            x[i] = functional.interpolate(small, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    gain = uniform(0.75, 1.25, n, 1, 3, 1, 1) * uniform(0.95, 1.05, n, f, 1, 1, 1)
    alpha = x[:, :, 3:]
    rgb = torch.minimum((x[:, :, :3] * gain + uniform(-0.08, 0.08, n, 1, 3, 1, 1) * alpha).clamp_min(0), alpha)
    x = torch.cat([rgb, alpha], dim=2)
    noise = uniform(0, 0.05, n, 1, 1, 1, 1) * torch.randn(x.shape, generator=generator)
    return (x + noise).clamp(0, 1)


def train_recogniser(
    clips: Sequence[RealClip],
    settings: Settings,
    *,
    log: Callable[[dict[str, Any]], None] | None = None,
) -> Recogniser:
    """A recogniser trained on the trained orbits of `clips`; every pair of kind and motion is drawn equally
    often, those of toys as `toy_share` says.

    The classes are those of the trained clips. Clips whose captions name no motion teach only the kind. `log` is called with
    step, losses and seconds now and then. The same seed gives the same weights on the same machine and number of threads.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    torch.manual_seed(settings.seed)
    trained = [(clip, start) for clip in clips for start in clip.trained]
    if not trained:
        raise InputError("no clip is left to train on; give more than toys that are held out")
    classes = Classes.of(clip.label for clip, _ in trained)
    kind = torch.tensor([classes.kinds.index(clip.label.kind) for clip, _ in trained])
    motion = torch.tensor([_number(classes, clip.label) for clip, _ in trained])
    group = kind * (len(classes.motions) + 1) + motion + 1
    weights = 1 / torch.bincount(group)[group].float()
    toys = torch.tensor([clip.label.kind.startswith(TOY) for clip, _ in trained])
    if toys.any() and not toys.all():
        shares = torch.where(toys, settings.toy_share, 1 - settings.toy_share)
        weights *= shares / torch.where(toys, weights[toys].sum(), weights[~toys].sum())
    model = Recogniser(classes, width=settings.width, dim=settings.dim, layers=settings.layers).train()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    other = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": other, "weight_decay": 0.0}],
        lr=settings.lr,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.lr, total_steps=settings.steps + 1, pct_start=0.15
    )
    started = time.monotonic()
    for step in range(1, settings.steps + 1):
        drawn = torch.multinomial(weights, settings.batch, replacement=True, generator=generator)
        shown = torch.randperm(FRAMES, generator=generator)[: settings.frames].sort().values
        frames = torch.stack([clip.orbits[start][shown] for clip, start in (trained[i] for i in drawn.tolist())])
        kinds, motions = model(augmented(network_input(frames), generator), shown)
        loss_kind = functional.cross_entropy(kinds, kind[drawn], label_smoothing=settings.label_smoothing)
        moving = motion[drawn] >= 0
        loss_motion = (
            functional.cross_entropy(motions[moving], motion[drawn][moving], label_smoothing=settings.label_smoothing)
            if moving.any()
            else torch.zeros(())
        )
        optimizer.zero_grad(set_to_none=True)
        (loss_kind + settings.motion_weight * loss_motion).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if log is not None and (step % 50 == 0 or step == settings.steps):
            seconds = round(time.monotonic() - started, 1)
            log({"step": step, "kind": loss_kind.item(), "motion": loss_motion.item(), "seconds": seconds})
    return model.eval()


def _number(classes: Classes, label: Label) -> int:
    return classes.motions.index(label.motion) if label.motion else -1


def held_out_figures(model: Recogniser, clips: Sequence[RealClip], *, seed: int = 0) -> dict[str, Any]:
    """Accuracies on the held-out orbits, with chance, by group, and with the motion taken away.

    `all`, `characters`, `toys`: held-out orbits of each group; of toys only those that were never trained on count.
    `start0`: the orbits from azimuth 0 alone, which generated clips are compared with. `static`: the static orbit shown as if
    it moved; `scrambled`: the camera as it was, times at random. Intervals resample clips.
    """
    tested = [(c, s) for c in clips for s in c.tested if c.toy_held_out or not c.label.kind.startswith(TOY)]
    tested = [(c, s) for c, s in tested if c.label.kind in model.classes.kinds]
    frames = torch.stack([c.orbits[s] for c, s in tested])
    told = judge(model, frames, [c.label for c, _ in tested])
    toys = [c.label.kind.startswith(TOY) for c, _ in tested]
    groups = {
        "all": [True] * len(tested),
        "characters": [not t for t in toys],
        "toys": toys,
        "start0": [s == c.held_out[0] for c, s in tested],
        "start0_characters": [s == c.held_out[0] and not t for (c, s), t in zip(tested, toys, strict=True)],
    }
    report: dict[str, Any] = {
        name: accuracies(told, chosen, cases=[c.key for c, _ in tested], seed=seed) for name, chosen in groups.items()
    }
    generator = torch.Generator().manual_seed(seed)
    still = [c for c, s in tested if s == c.held_out[0] and c.static is not None]
    if still:
        stopped = torch.stack([c.static for c in still if c.static is not None])
        report["static"] = _plain(judge(model, stopped, [c.label for c in still]), keys=[c.key for c in still])
    mixed = torch.stack([scrambled(c, s, generator) for c, s in tested])
    report["scrambled"] = _plain(judge(model, mixed, [c.label for c, _ in tested]), keys=[c.key for c, _ in tested])
    report["chance"] = chance(model.classes, [c.label for c, _ in tested])
    report["by_kind"] = _by_class(told, [c.label.kind for c, _ in tested])
    report["by_motion"] = _by_class(told, [c.label.motion for c, _ in tested])
    report["confused_motions"] = _confused(told, [c.label for c, _ in tested])
    report["confused_kinds"] = _pairs([(c.label.kind, k) for (c, _), k in zip(tested, told.kind, strict=True)])
    return report


def _plain(told: Judgement, *, keys: list[str]) -> dict[str, Any]:
    return accuracies(told, [True] * len(told.kind), cases=keys)


def _by_class(told: Judgement, names: Sequence[str | None]) -> dict[str, dict[str, float | int | None]]:
    """Accuracies of the rows of each name."""
    out: dict[str, dict[str, float | int | None]] = {}
    for name in sorted({n for n in names if n is not None}):
        rows = [i for i, n in enumerate(names) if n == name]
        moving = [float(bool(told.motion_right[i])) for i in rows if told.motion_right[i] is not None]
        out[name] = {
            "kind": round(sum(told.kind_right[i] for i in rows) / len(rows), 4),
            "motion": round(sum(moving) / len(moving), 4) if moving else None,
            "clips": len(rows),
        }
    return out


def _confused(told: Judgement, labels: Sequence[Label]) -> list[dict[str, Any]]:
    return _pairs([(label.motion, m) for label, m in zip(labels, told.motion, strict=True) if label.motion])


def _pairs(pairs: Sequence[tuple[str, str]], *, most: int = 30) -> list[dict[str, Any]]:
    """The most frequent mistakes: what it was, what was told, how often."""
    wrong = [pair for pair in pairs if pair[0] != pair[1]]
    counts = sorted(((wrong.count(p), p) for p in set(wrong)), key=lambda item: (-item[0], item[1]))
    return [{"true": true, "told": other, "count": count} for count, (true, other) in counts[:most]]
