"""4D construction: from orbital clips to dynamic 3D Gaussians, coarse to fine.

1. hull: Gaussians on the visual hull of the silhouettes;
2. coarse: the canonical Gaussians alone, on one moment seen from several sides if there is one (a static orbit, or
   cameras that look at the same time), else on all frames;
3. fine: canonical Gaussians, control nodes and their ST-HexPlane together on all frames. With such a moment the
   canonical state is that moment, and the window of times that is seen widens from it, so that motion is *tracked*:
   every new frame starts from the pose of its neighbour.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..clip import OrbitalClip
from .deform import ControlNodes, NodeMotion, farthest_points
from .fit_config import FitConfig, LossWeights
from .fit_frames import Frames, check_clips, gather_frames
from .fit_inputs import find_start
from .fit_optim import Canonical, LearningRates, build_optimizer, set_decay
from .gaussians import Gaussians, Gaussians4D
from .hull import Hull, hull_gaussians, visual_hull
from .losses import acceleration, anisotropy, dssim, rigidity
from .rasterize import render_batch

__all__ = ["FitConfig", "FitResult", "LearningRates", "LossWeights", "fit"]


@dataclass(kw_only=True)
class FitResult:
    """A constructed scene, its training history (one dict of figures every few steps), and the seconds that it took."""

    scene: Gaussians4D
    history: list[dict]
    seconds: float


def fit(
    clips: OrbitalClip | list[OrbitalClip],
    *,
    static_clip: OrbitalClip | None = None,
    config: FitConfig | None = None,
    progress: bool = True,
) -> FitResult:
    """Construct a dynamic 3D Gaussian scene from one or more clips of one object.

    `clips` show it moving: one orbit or several, fixed cameras, a grid of views and times, a camera that jumps.
    `static_clip` shows one moment of it from all around (all its times equal). They may have any size; they are fitted at
    `config.size`. Raises InputError for clips that cannot be used.
    """
    started = time.perf_counter()
    clips = [clips] if isinstance(clips, OrbitalClip) else list(clips)
    config = config or FitConfig.for_size(max(clips[0].rgb.shape[-2:])) if clips else FitConfig()
    everything = clips + ([static_clip] if static_clip is not None else [])
    check_clips(everything)
    size = min(config.size, max(clips[0].rgb.shape[-2:]))
    frames = gather_frames(everything, size=size)
    start = find_start(clips, static_clip, size=size)
    generator = torch.Generator().manual_seed(config.seed)
    with _deterministic(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        hull = visual_hull(start.views, moving=start.anchor is None, resolution=config.hull_resolution)
        initial = hull_gaussians(hull, start.views, count=config.gaussians, generator=generator)
        trainer = _Trainer(
            frames, initial, hull, anchor=start.anchor, static=start.still, config=config, generator=generator
        )
        history = trainer.run(progress=progress)
    return FitResult(scene=trainer.scene(), history=history, seconds=time.perf_counter() - started)


@contextmanager
def _deterministic() -> Iterator[None]:
    """Without this, gradients of indexing are added atomically by several threads and a seed does not fix the scene."""
    before, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # only costs time
    try:
        yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(before, warn_only=warn_only)


class _Trainer:
    """The state of one construction; `run` is the loop, the other methods are its parts in order."""

    def __init__(
        self,
        frames: Frames,
        initial: Gaussians,
        hull: Hull,
        *,
        anchor: float | None,
        static: Tensor,
        config: FitConfig,
        generator: torch.Generator,
    ) -> None:
        self.frames, self.config, self.generator, self.anchor = frames, config, generator, anchor
        self.half_frames = frames.halved()
        self.extent = hull.half_extent
        self.canonical = Canonical(initial)
        self.nodes = ControlNodes(
            nodes=hull.surface[farthest_points(hull.surface, config.nodes)],
            neighbors=config.skinning_neighbors,
            graph_neighbors=config.graph_neighbors,
            field={
                "center": tuple(hull.center.tolist()),
                "half_extent": 1.05 * hull.half_extent,
                "spatial_resolutions": config.spatial_resolutions,
                "temporal_resolutions": config.temporal_resolutions,
                "anchor_time": anchor,
            },
        )
        self.graph = self.nodes.graph()
        self.log_gains = nn.Parameter(torch.zeros(int(frames.clip.max()) + 1))
        self.optimizer = build_optimizer(self.canonical, self.nodes, self.log_gains, config.rates, extent=self.extent)
        self.static = static
        self.spacing = _frame_spacing(frames.times[~self.static])
        coarse_share = config.coarse_share_moving if anchor is None else config.coarse_share
        self.coarse_steps = int(coarse_share * config.steps)
        self.window = (0.0, 1.0)
        self.skin = self.nodes.skin(self.canonical.means.detach())

    def run(self, *, progress: bool) -> list[dict]:
        history = []
        bar = tqdm(total=self.config.steps, desc="construct", unit="step", disable=not progress)
        smoothed = None
        for step in range(self.config.steps):
            fine = step >= self.coarse_steps
            if fine:
                self._widen_window(step)
            index = self._draw_frames(fine=fine)
            half = step < self.config.half_size_share * self.config.steps
            terms = self._losses((self.half_frames if half else self.frames)[index], fine=fine)
            loss = torch.stack([value for name, value in terms.items() if name != "mse"]).sum()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if self.probe.grad is not None:
                self.canonical.demand += self.probe.grad.norm(dim=-1).sum(dim=0)
            done = step / self.config.steps
            set_decay(
                self.optimizer, done, max(0.0, step - self.coarse_steps) / max(1, self.config.steps - self.coarse_steps)
            )
            self.optimizer.step()
            self._maintain(step)
            mse = float(terms["mse"])
            smoothed = mse if smoothed is None else 0.95 * smoothed + 0.05 * mse
            bar.update()
            if step % 20 == 0 or step == self.config.steps - 1:
                figures = {name: round(float(value.detach()), 6) for name, value in terms.items()}
                history.append(
                    {"step": step, "stage": "fine" if fine else "coarse", "psnr": _decibels(smoothed), **figures}
                )
                bar.set_postfix_str(f"{history[-1]['stage']} {history[-1]['psnr']:.1f} dB")
        bar.close()
        return history

    def scene(self) -> Gaussians4D:
        canonical = Gaussians(**{k: v.clone() for k, v in vars(self.canonical.gaussians.detach()).items()})
        return Gaussians4D(canonical=canonical, deformation=self.nodes.requires_grad_(False))

    def _widen_window(self, step: int) -> None:
        """The times that the fine stage may see: from the anchor outwards, all after `widen_share` of its steps."""
        if self.anchor is None:
            return
        fine_steps = max(1, self.config.steps - self.coarse_steps)
        share = (step - self.coarse_steps + 1) / max(1.0, self.config.widen_share * fine_steps)
        if share >= 1:
            self.window = (0.0, 1.0)
            return
        reach = share * max(self.anchor, 1 - self.anchor) + self.spacing
        window = (max(0.0, self.anchor - reach), min(1.0, self.anchor + reach))
        self.nodes.field.hold_outside(*window)
        self.window = window

    def _draw_frames(self, *, fine: bool) -> Tensor:
        count = self.config.frames_per_step
        if not fine:
            pool = self.static if self.anchor is not None else ~self.static
            return self._choose(pool, count)
        inside = (
            ~self.static & (self.frames.times >= self.window[0] - 1e-6) & (self.frames.times <= self.window[1] + 1e-6)
        )
        if self.anchor is None:
            return self._choose(inside, count)
        if not bool(inside.any()):  # irregular times: the window has not reached a moving frame yet
            return self._choose(self.static, count)
        still = int((torch.rand(count, generator=self.generator) < self.config.static_share).sum())
        return torch.cat([self._choose(self.static, still), self._choose(inside, count - still)])

    def _choose(self, mask: Tensor, count: int) -> Tensor:
        pool = mask.nonzero()[:, 0]
        if count == 0:
            return pool[:0]
        order = torch.cat([torch.randperm(len(pool), generator=self.generator) for _ in range(-(-count // len(pool)))])
        return pool[order[:count]]

    def _losses(self, batch: Frames, *, fine: bool) -> dict[str, Tensor]:
        """Weighted terms, and the unweighted `mse` of the colours for the log."""
        weights, gaussians = self.config.weights, self.canonical.gaussians
        terms: dict[str, Tensor] = {}
        v = len(batch)
        if fine:
            d = self.spacing
            motion = self.nodes.motion(torch.cat([batch.times, batch.times - d, batch.times + d]).clamp(0, 1))
            now = replace(motion, **{k: value[:v] for k, value in vars(motion).items()})
            means, quats, log_scales = self.nodes.carry(gaussians, now, self.skin)
            terms |= self._motion_terms(motion, batch.times)
        else:
            means, quats, log_scales = gaussians.means, gaussians.quats, gaussians.log_scales
        self.probe = torch.zeros(v, len(gaussians), 2, requires_grad=True)
        drawn = render_batch(
            means=means,
            quats=quats,
            log_scales=log_scales,
            logit_opacities=gaussians.logit_opacities,
            colors=gaussians.base_colors,
            cameras=batch.cameras,
            probe=self.probe,
        )
        gains = (self.log_gains - self.log_gains.mean()).exp()[batch.clip][:, None, None, None]
        background = torch.rand(v, 3, 1, 1, generator=self.generator)
        prediction = gains * drawn.rgb + (1 - drawn.alpha) * background
        target = batch.premultiplied + (1 - batch.alpha) * background
        terms["l1"] = weights.l1 * (prediction - target).abs().mean()
        terms["dssim"] = weights.dssim * dssim(prediction, target)
        terms["alpha"] = weights.alpha * (drawn.alpha - batch.alpha).abs().mean()
        terms["anisotropy"] = weights.anisotropy * anisotropy(gaussians.log_scales)
        terms["opacity"] = weights.opacity * gaussians.logit_opacities.sigmoid().mean()
        terms["scale"] = weights.scale * gaussians.log_scales.exp().mean() / self.extent
        terms["mse"] = (prediction.detach() - target).square().mean()
        return terms

    def _motion_terms(self, motion: NodeMotion, times: Tensor) -> dict[str, Tensor]:
        weights, v = self.config.weights, len(times)
        now, before, after = motion.positions[:v], motion.positions[v : 2 * v], motion.positions[2 * v :]
        # At the ends of the clip one neighbour in time is missing: no acceleration is known there.
        inner = (times - self.spacing > -1e-6) & (times + self.spacing < 1 + 1e-6)
        terms = {"rigidity": weights.rigidity * rigidity(self.nodes.nodes, motion, self.graph)}
        if bool(inner.any()):
            knee = self.config.acceleration_knee * self.extent
            uneven = acceleration(before[inner], now[inner], after[inner], knee=knee) / self.extent**2
            terms["acceleration"] = weights.acceleration * 1000 * uneven
        space, smooth = self.nodes.field.total_variation()
        terms["plane_space"], terms["plane_time"] = weights.plane_space * space, weights.plane_time * smooth
        return terms

    def _maintain(self, step: int) -> None:
        """Relocation while there is time to settle, and skinning weights that follow the moving means."""
        every = self.config.relocate_every
        if (step + 1) % every == 0 and step < 0.8 * self.config.steps:
            self.canonical.relocate(self.optimizer, share=self.config.relocate_share, generator=self.generator)
        if (step + 1) % 25 == 0 or (step + 1) % every == 0 or step == self.config.steps - 1:
            self.skin = self.nodes.skin(self.canonical.means.detach())


def _frame_spacing(times: Tensor) -> float:
    """Median distance in time of neighbouring frames, within [0.001, 0.5]."""
    steps = times.unique().diff()
    return float(steps.median().clamp(1e-3, 0.5)) if len(steps) else 0.5


def _decibels(mse: float) -> float:
    return round(float(-10 * torch.log10(torch.tensor(max(mse, 1e-12)))), 3)
