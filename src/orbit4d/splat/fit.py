"""4D construction: from orbital clips to dynamic 3D Gaussians, coarse to fine.

1. hull: Gaussians on the visual hull of the silhouettes;
2. coarse: the canonical Gaussians alone, on one moment seen from several sides if there is one (a static orbit, or
   cameras that look at the same time), else on the frames next to the middle of the clip;
3. fine: canonical Gaussians, control nodes and their ST-HexPlane together on all frames. The canonical state is that
   moment; the window of times that is seen widens from it, so that motion is *tracked*: every new frame starts from the
   pose of its neighbour, and is seen often at first.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..cameras import Cameras
from ..clip import ONE_MOMENT, OrbitalClip, SpatioTemporalFeatures
from ..errors import InputError
from .checkpoint import Checkpoint
from .fit_config import FitConfig, LossWeights
from .fit_frames import Frames, check_clips, gather_features, gather_frames, loops
from .fit_inputs import Start, find_start
from .fit_motion import Motion
from .fit_optim import Canonical, LearningRates, build_optimizer, set_decay
from .gaussians import Gaussians, Gaussians4D, Moved
from .hull import NEAR_FRAMES, Hull, hull_gaussians, moving_hull, random_gaussians, visual_hull
from .lift import lift_features
from .losses import anisotropy, dssim
from .rasterize import render_batch
from .reference import NEAR

__all__ = ["FitConfig", "FitResult", "LearningRates", "LossWeights", "fit"]

OnStep = Callable[[int, int, Callable[[], Gaussians4D]], None]
"""Called after each step with its number (from 1), how many there are, and a function that copies the scene as it is."""
FRONTIER = 2.5
"""Frame spacings behind the edge of the widening window that count as just reached."""
LIFT_TOLERANCE = 0.03
"""Of half the object's extent, beside two voxels: how far behind the seen surface a control node still counts as seen."""


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
    checkpoint: str | Path | None = None,
    keep_checkpoint: bool = False,
    device: str | torch.device = "cpu",
    progress: bool = True,
    on_step: OnStep | None = None,
) -> FitResult:
    """Construct a dynamic 3D Gaussian scene from one or more clips of one object.

    Args:
        clips: what shows the object moving: one orbit or several, fixed cameras, a grid of views and times, a camera that
            jumps; any sizes of one aspect ratio, fitted at `config.size`. The diffusion features of clips that have them
            are lifted onto the control nodes.
        static_clip: one moment of it from all around (all its times equal).
        checkpoint: file that the state is written to every few seconds, and removed from at the end. If it is there from
            an earlier run with the same clips and config, that run is taken up where it was, with the same result.
        keep_checkpoint: write the end to it instead of removing it: the caller removes it when the scene is safe on the disk.
        device: where the optimisation runs; "cuda" needs gsplat. The scene comes back on the CPU.
        on_step: called after each step (see `OnStep`). What it raises ends the construction.

    Raises InputError for clips that cannot be used.
    """
    started = time.perf_counter()
    clips = [clips] if isinstance(clips, OrbitalClip) else list(clips)
    config = config or FitConfig.for_size(max((max(clip.rgb.shape[-2:]) for clip in clips), default=256))
    everything = clips + ([static_clip] if static_clip is not None else [])
    check_clips(clips)
    check_clips(everything)
    size = min(config.size, max(max(clip.rgb.shape[-2:]) for clip in clips))
    frames = gather_frames(everything, size=size)
    start = find_start(clips, static_clip, size=size)
    features = gather_features(everything)
    if features is not None and config.deformation != "nodes":
        raise InputError(
            f'features: are lifted onto control nodes, but deformation is {config.deformation!r}; take "nodes", or leave '
            "the clips' features out"
        )
    generator = torch.Generator().manual_seed(config.seed)
    with _deterministic(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        anchor = start.anchor if start.anchor is not None else _moving_anchor(frames.times, config)
        if anchor is None or bool(start.still.all()) or static_clip is not None:
            moving = static_clip is None and not bool(start.still.all())
            hull = visual_hull(start.views, moving=moving, resolution=config.hull_resolution)
        else:
            hull = moving_hull(start.views, anchor=anchor, resolution=config.hull_resolution)
        _check_distance(hull, frames.cameras)
        if config.init == "random":
            initial = random_gaussians(hull, count=config.gaussians, generator=generator)
        else:
            initial = hull_gaussians(hull, start.views, count=config.gaussians, generator=generator)
        trainer = Trainer(
            frames,
            initial,
            hull,
            anchor=anchor,
            static=start.still,
            features=features,
            config=config,
            generator=generator,
            device=torch.device(device),
        )
        saved = None
        if checkpoint is not None:
            decides = [hull.surface, *_decisive(frames, start, features)]
            saved = Checkpoint(checkpoint, config, decides)
        history = trainer.run(checkpoint=saved, keep=keep_checkpoint, progress=progress, on_step=on_step)
    return FitResult(scene=trainer.scene(), history=history, seconds=time.perf_counter() - started)


def _moving_anchor(times: Tensor, config: FitConfig) -> float | None:
    """The moment that motion is tracked from where none is seen from several sides: `config.moving_anchor` of the clip, or
    the nearest frame's time where there is a gap."""
    if config.moving_anchor is None:
        return None
    first, last = float(times.min()), float(times.max())
    anchor = first + config.moving_anchor * (last - first)
    nearest = float(times[(times - anchor).abs().argmin()])
    return anchor if abs(nearest - anchor) <= _frame_spacing(times) else nearest


def _check_distance(hull: Hull, cameras: Cameras) -> None:
    """Raise InputError where most of the object is too near to a camera to be drawn."""
    _, depth = cameras.project(hull.surface.expand(len(cameras), -1, -1))
    if float((depth < NEAR).float().mean(dim=1).max()) > 0.5:
        raise InputError(
            f"cameras: the object is {float(depth.median()):.2g} world units away, and nothing nearer than {NEAR} is "
            "drawn; multiply all camera positions so that it is about 2 away"
        )


def _decisive(frames: Frames, start: Start, features: SpatioTemporalFeatures | None) -> list[Tensor]:
    """Everything that decides a construction beside its config."""
    tensors = [frames.premultiplied, frames.alpha, frames.times, frames.clip, start.still]
    tensors += [frames.cameras.camera_to_world, frames.cameras.intrinsics]
    if features is not None:
        tensors += [features.z_s, features.z_t, features.times]
        tensors += [features.cameras.camera_to_world, features.cameras.intrinsics]
    return tensors


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


class Trainer:
    """The state of one construction; `run` is the loop, the other methods are its parts in order."""

    def __init__(
        self,
        frames: Frames,
        initial: Gaussians,
        hull: Hull,
        *,
        anchor: float | None,
        static: Tensor,
        features: SpatioTemporalFeatures | None,
        config: FitConfig,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self.config, self.generator, self.anchor, self.device = config, generator, anchor, device
        self.times, self.static, self.still = frames.times, static, bool(static.any())
        self.frames = frames.to(device)
        self.half_frames = self.frames.halved()
        self.hull = hull
        self.canonical = Canonical(initial).to(device)
        self.features = features
        self.motion = Motion(
            initial,
            hull,
            anchor=anchor,
            loop=loops(frames) if config.loop is None else config.loop,
            spacing=_frame_spacing(frames.times[~self.static]),
            feature_channels=(0, 0) if features is None else (features.z_s.shape[1], features.z_t.shape[1]),
            feature_times=1 if features is None else len(features.times.unique()),
            config=config,
        ).to(device)
        self.log_gains = nn.Parameter(torch.zeros(int(frames.clip.max()) + 1, device=device))
        self.optimizer = build_optimizer(
            self.canonical, self.motion.parameter_groups(), self.log_gains, config.rates, extent=hull.half_extent
        )
        coarse_share = config.coarse_share if self.still else config.coarse_share_moving
        self.coarse_steps = int(coarse_share * config.steps)
        self.reach = 1.0
        self.step = 0
        self.smoothed: float | None = None
        self.history: list[dict] = []

    def run(
        self, *, checkpoint: Checkpoint | None, keep: bool = False, progress: bool, on_step: OnStep | None = None
    ) -> list[dict]:
        if checkpoint is not None and (state := checkpoint.load()) is not None:
            self.restore(state)
        bar = tqdm(total=self.config.steps, initial=self.step, desc="construct", unit="step", disable=not progress)
        with bar:
            while self.step < self.config.steps:
                figures = self._advance()
                bar.update()
                if figures is not None:
                    bar.set_postfix_str(f"{figures['stage']} {figures['psnr']:.1f} dB")
                if checkpoint is not None:
                    checkpoint.save_sometimes(self.state)
                if on_step is not None:
                    on_step(self.step, self.config.steps, self.scene)
        if checkpoint is not None:
            checkpoint.save(self.state()) if keep else checkpoint.remove()
        return self.history

    def scene(self) -> Gaussians4D:
        """A copy of the scene as it is now, on the CPU; the training may go on."""
        deformation = copy.deepcopy(self.motion.deformation).cpu().requires_grad_(False)
        canonical = Gaussians(**{k: v.clone().cpu() for k, v in vars(self.canonical.gaussians.detach()).items()})
        return Gaussians4D(canonical=canonical, deformation=deformation)

    def state(self) -> dict:
        """Everything that an exact resume needs."""
        return {
            "canonical": self.canonical.state_dict(),
            "demand": self.canonical.demand,
            "motion": self.motion.state(),
            "log_gains": self.log_gains.detach(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "torch_rng": torch.get_rng_state(),
            "step": self.step,
            "reach": self.reach,
            "smoothed": self.smoothed,
            "history": self.history,
        }

    @torch.no_grad()
    def restore(self, state: dict) -> None:
        """The reverse of `state`."""
        self.canonical.load_state_dict(state["canonical"])
        self.canonical.demand.copy_(state["demand"])
        self.motion.restore(state["motion"])
        self.log_gains.copy_(state["log_gains"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["torch_rng"])
        self.step, self.reach = state["step"], state["reach"]
        self.smoothed, self.history = state["smoothed"], state["history"]

    def _advance(self) -> dict | None:
        """One optimisation step; its figures every now and then."""
        step, fine = self.step, self.step >= self.coarse_steps
        if fine:
            opened = self._widen_window(step)
            due = (step - self.coarse_steps) % self.config.lift_every == 0 or opened
            if self.features is not None and due:
                self._lift(self.features)
        index = self._draw_frames(fine=fine).to(self.device)
        half = step < self.config.half_size_share * self.config.steps
        terms = self._losses((self.half_frames if half else self.frames)[index], fine=fine)
        loss = torch.stack([value for name, value in terms.items() if name != "mse"]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.probe.grad is not None:
            self.canonical.demand += self.probe.grad.norm(dim=-1).sum(dim=0)
        fine_steps = max(1, self.config.steps - self.coarse_steps)
        fine_share = max(0.0, step - self.coarse_steps) / fine_steps
        # No rate falls while new times come into sight: there is still everything to learn about them.
        kept = 0.0 if self.anchor is None else min(self.config.widen_share, 0.99)
        settled = max(0.0, fine_share - kept) / (1 - kept)
        set_decay(self.optimizer, settled)
        self.optimizer.step()
        self._maintain(step)
        mse = float(terms["mse"])
        self.smoothed = mse if self.smoothed is None else 0.95 * self.smoothed + 0.05 * mse
        self.step += 1
        if step % 20 and step != self.config.steps - 1:
            return None
        figures = {name: round(float(value.detach()), 6) for name, value in terms.items()}
        self.history.append(
            {"step": step, "stage": "fine" if fine else "coarse", "psnr": _decibels(self.smoothed), **figures}
        )
        return self.history[-1]

    def _widen_window(self, step: int) -> bool:
        """The times that the fine stage may see: from the anchor outwards, all after `widen_share` of its steps.

        True in the step in which the last of them come into sight.
        """
        if self.anchor is None:
            return False
        fine_steps = max(1, self.config.steps - self.coarse_steps)
        share = (step - self.coarse_steps + 1) / max(1.0, self.config.widen_share * fine_steps)
        if share >= 1:
            opened, self.reach = self.reach < 1, 1.0
            return opened
        farthest = max(self.anchor, 1 - self.anchor)
        self.reach = min(share * farthest + self.motion.spacing, 0.999)
        self.motion.hold_outside(self.reach)
        return False

    def _draw_frames(self, *, fine: bool) -> Tensor:
        count = self.config.frames_per_step
        if not fine:
            return self._choose(self._coarse_frames(), count)
        inside = fresh = ~self.static
        if self.anchor is not None:
            away = (self.times - self.anchor).abs()
            inside = inside & (away <= self.reach + 1e-6)
            fresh = inside & (away > self.reach - FRONTIER * self.motion.spacing)
        if not bool(inside.any()):  # irregular times: the window has not reached a moving frame yet
            return self._choose(self._coarse_frames(), count)
        drawn = torch.rand(2, count, generator=self.generator)
        held = int((drawn[0] < self.config.static_share).sum()) if self.still else 0
        widening = self.reach < 1 and bool(fresh.any())
        ahead = int((drawn[1, held:] < self.config.frontier_share).sum()) if widening else 0
        parts = [(self.static, held), (fresh, ahead), (inside, count - held - ahead)]
        return torch.cat([self._choose(mask, number) for mask, number in parts])

    def _coarse_frames(self) -> Tensor:
        """Frames of the canonical state: the static orbit, the moments next to the anchor, or all."""
        if self.still:
            return self.static
        if self.anchor is None:
            return ~self.static
        near = (self.times - self.anchor).abs().argsort()[:NEAR_FRAMES]
        return torch.zeros_like(self.static).index_fill(0, near, True)

    def _choose(self, mask: Tensor, count: int) -> Tensor:
        pool = mask.nonzero()[:, 0]
        if count == 0:
            return pool[:0]
        order = torch.cat([torch.randperm(len(pool), generator=self.generator) for _ in range(-(-count // len(pool)))])
        return pool[order[:count]]

    def _losses(self, batch: Frames, *, fine: bool) -> dict[str, Tensor]:
        """Weighted terms, and the unweighted `mse` of the colours for the log."""
        weights, gaussians, v = self.config.weights, self.canonical.gaussians, len(batch)
        moved, terms = self.motion.moved(gaussians, batch.times) if fine else (Moved(**vars(gaussians)), {})
        self.probe = torch.zeros(v, len(gaussians), 2, device=self.device, requires_grad=True)
        drawn = render_batch(
            means=moved.means,
            quats=moved.quats,
            log_scales=moved.log_scales,
            logit_opacities=moved.logit_opacities,
            colors=moved.colors,
            cameras=batch.cameras,
            probe=self.probe,
        )
        gains = (self.log_gains - self.log_gains.mean()).exp()[batch.clip][:, None, None, None]
        background = torch.rand(v, 3, 1, 1, generator=self.generator).to(self.device)
        prediction = gains * drawn.rgb + (1 - drawn.alpha) * background
        target = batch.premultiplied + (1 - batch.alpha) * background
        terms["l1"] = weights.l1 * (prediction - target).abs().mean()
        terms["dssim"] = weights.dssim * dssim(prediction, target)
        terms["alpha"] = weights.alpha * (drawn.alpha - batch.alpha).abs().mean()
        terms["anisotropy"] = weights.anisotropy * anisotropy(gaussians.log_scales)
        terms["opacity"] = weights.opacity * gaussians.logit_opacities.sigmoid().mean()
        terms["scale"] = weights.scale * gaussians.log_scales.exp().mean() / self.hull.half_extent
        terms["mse"] = (prediction.detach() - target).square().mean()
        return terms

    @torch.no_grad()
    def _lift(self, features: SpatioTemporalFeatures) -> None:
        """Features from the frames onto the guides, where they are at each frame's time."""
        times = features.times.to(self.device)
        depth = []
        for i in range(len(times)):
            moved, _ = self.motion.moved(self.canonical.gaussians, times[i : i + 1])
            drawn = render_batch(
                means=moved.means,
                quats=moved.quats,
                log_scales=moved.log_scales,
                logit_opacities=moved.logit_opacities,
                colors=moved.colors,
                cameras=features.cameras[i : i + 1].to(self.device),
            )
            depth.append(drawn.depth * (drawn.alpha > 0.5))
        lifted = lift_features(
            features,
            canonical=self.motion.guides.cpu(),
            positions=self.motion.guides_at(times).cpu(),
            depth=torch.cat(depth).cpu(),
            tolerance=2 * self.hull.voxel + LIFT_TOLERANCE * self.hull.half_extent,
        )
        self.motion.take_features(lifted, anchor=self.anchor, reach=self.reach)

    def _maintain(self, step: int) -> None:
        """Relocation while there is time to settle, and skinning weights that follow the moving means."""
        every = self.config.relocate_every
        if (step + 1) % every == 0 and step < 0.8 * self.config.steps:
            self.canonical.relocate(
                self.optimizer,
                share=self.config.relocate_share,
                generator=self.generator,
                also=self.motion.per_gaussian,
            )
        if (step + 1) % 25 == 0 or (step + 1) % every == 0 or step == self.config.steps - 1:
            self.motion.follow(self.canonical.means)


def _frame_spacing(times: Tensor) -> float:
    """Median distance in time of neighbouring frames, within [0.001, 0.5]."""
    steps = (times / ONE_MOMENT).round().unique().diff() * ONE_MOMENT
    return float(steps.median().clamp(1e-3, 0.5)) if len(steps) else 0.5


def _decibels(mse: float) -> float:
    return round(float(-10 * torch.log10(torch.tensor(max(mse, 1e-12)))), 3)
