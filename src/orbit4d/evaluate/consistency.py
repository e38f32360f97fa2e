"""Consistency without a network: does one object explain all views, does it move as a surface does, does what is still stay?

Each figure stands beside the same figure of ground truth, which is not perfect either: light that falls from one side
changes what a turning surface shows, and a construction from true frames is no oracle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from ..cameras import Cameras
from ..clip import OrbitalClip
from ..errors import InputError
from ..splat.gaussians import Gaussians4D
from .evaluate import render_scene
from .metrics import FOREGROUND, foreground_psnr

SAME_SURFACE = 0.02
"""Depth, relative, within which a warped point and what is seen there are one surface."""
SOLID = 0.95
"""Alpha above which a pixel is the object's alone: at edges, what is followed is partly background."""
STILL = 2 / 255
"""Colours and alpha that never change by more are still."""
MIN_COVERED = 0.05
"""Share of the foreground that must be followed from one frame to the next for a warp error to mean anything."""


@dataclass(kw_only=True)
class SurfaceMotion:
    """Where what each pixel shows goes until the next frame.

    Attributes:
        depth: (t, 1, h, w) camera-z in world units, 0 where nothing is.
        flow: (t, 3, h, w) scene flow: displacement in world units, along the world axes, to the next frame's time.
        cameras: the t cameras. They may move: the flow does not contain that.
    """

    depth: Tensor
    flow: Tensor
    cameras: Cameras

    def __post_init__(self) -> None:
        t, _, h, w = self.flow.shape
        expected = {"depth": (t, 1, h, w), "flow": (t, 3, h, w)}
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(f"{name} must have shape {shape}, got {tuple(getattr(self, name).shape)}")
        if len(self.cameras) != t or (self.cameras.width, self.cameras.height) != (w, h):
            raise ValueError(f"cameras must be {t} of {w} x {h} pixels, one a frame")

    def targets(self) -> tuple[Tensor, Tensor]:
        """Pixel coordinates (t - 1, h, w, 2) and camera-z (t - 1, h, w) in the next frame of what each pixel shows."""
        t, _, h, w = self.flow.shape
        directions, origins = self.cameras.rays(h, w)
        forward = self.cameras.camera_to_world[:, None, None, :3, 2]
        points = origins + directions * (self.depth[:, 0] / (directions * forward).sum(dim=-1))[..., None]
        moved = (points + self.flow.permute(0, 2, 3, 1))[:-1]
        pixels, depth = self.cameras[1:].project(moved.flatten(1, 2))
        return pixels.view(t - 1, h, w, 2), depth.view(t - 1, h, w)


@torch.no_grad()
def scene_motion(scene: Gaussians4D, cameras: Cameras, times: Tensor) -> SurfaceMotion:
    """The motion of a scene's own Gaussians: their displacements from each time to the next, rendered like colours.

    A pixel's flow is the mean displacement of the Gaussians that make it, weighted as their colours are; its depth is their
    mean depth. The last frame's flow is 0. It is the truth about the scene, not about what the scene was made from.
    """
    from ..splat.rasterize import render_batch

    moments = [scene.at(float(t)) for t in times]
    depths, flows = [], []
    for i, now in enumerate(moments):
        after = moments[min(i + 1, len(moments) - 1)]
        drawn = render_batch(
            means=now.means,
            quats=now.quats,
            log_scales=now.log_scales,
            logit_opacities=now.logit_opacities,
            colors=after.means - now.means,
            cameras=cameras[i : i + 1],
        )
        solid = drawn.alpha > FOREGROUND
        flows.append(torch.where(solid, drawn.rgb / drawn.alpha.clamp_min(FOREGROUND), torch.zeros_like(drawn.rgb)))
        depths.append(torch.where(solid, drawn.depth, torch.zeros_like(drawn.depth)))
    return SurfaceMotion(depth=torch.cat(depths), flow=torch.cat(flows), cameras=cameras)


def warp_error(frames: Tensor, alpha: Tensor, motion: SurfaceMotion) -> dict[str, float | None]:
    """How much what is followed from frame to frame changes its colour: 0 for a surface that carries its texture along.

    Args:
        frames: (t, 3, h, w) in [0, 1] on white; alpha (t, 1, h, w).
        motion: of the same frames.

    Every pixel of frame i that the object fills (alpha above 0.95) is moved by the flow into frame i + 1, read there
    bilinearly, and compared, unless it is hidden there: it leaves the frame, lands on background, or something stands there
    at another depth (by 2 %).

    Returns: `mean_absolute` colour difference over the pixels that count, averaged over steps; `psnr` of the same in dB;
    `unwarped`: the mean absolute difference of the same pixels without moving them, for scale; `covered`: the share of the
    object's pixels that counts. None where less than 5 % do. Raises ValueError for other shapes than `motion`'s.
    """
    t, _, h, w = motion.flow.shape
    if tuple(frames.shape) != (t, 3, h, w) or tuple(alpha.shape) != (t, 1, h, w) or t < 2:
        raise ValueError(
            f"frames and alpha must be ({t}, 3|1, {h}, {w}) and 2 or more, got {tuple(frames.shape)}, {tuple(alpha.shape)}"
        )
    pixels, depth = motion.targets()
    # grid_sample's [-1, 1] spans the image's edges (align_corners=False), as pixel coordinates 0 to width do.
    grid = torch.stack([2 * pixels[..., 0] / w - 1, 2 * pixels[..., 1] / h - 1], dim=-1)
    grid = torch.where(grid.isfinite(), grid, torch.full_like(grid, 2.0))
    after = functional.grid_sample(torch.cat([frames, alpha], dim=1)[1:], grid, align_corners=False)
    # Depth is read at the nearest pixel: a mean over an edge is the depth of nothing.
    seen = functional.grid_sample(motion.depth[1:], grid, mode="nearest", align_corners=False)[:, 0]
    foreground = (alpha[:-1, 0] > SOLID) & (motion.depth[:-1, 0] > 0)
    counts = foreground & (after[:, 3] > SOLID) & (seen > 0) & ((seen - depth).abs() < SAME_SURFACE * depth)
    number = counts.flatten(1).sum(dim=1)
    covered = float(number.sum() / foreground.sum().clamp_min(1))
    if covered < MIN_COVERED:
        return {"mean_absolute": None, "psnr": None, "unwarped": None, "covered": round(covered, 4)}
    steps = number > 0

    def mean(difference: Tensor) -> float:
        total = (difference * counts[:, None]).flatten(1).sum(dim=1)[steps] / (3 * number[steps])
        return float(total.mean())

    warped = frames[:-1] - after[:, :3]
    squared = mean(warped.square())
    return {
        "mean_absolute": round(mean(warped.abs()), 5),
        "psnr": round(-10 * math.log10(squared), 3) if squared > 0 else None,
        "unwarped": round(mean((frames[:-1] - frames[1:]).abs()), 5),
        "covered": round(covered, 4),
    }


def scene_time_consistency(
    scene: Gaussians4D, cameras: Cameras, times: Tensor, *, clip: OrbitalClip | None = None
) -> dict:
    """`warp_error` by the scene's own motion, of its own renders, or of the `clip` that it was constructed from.

    Of its renders, it shows flicker that is no motion: colours and opacities that change, Gaussians that come and go. Of a
    generated clip, it shows what no moving object can explain; its scale is a true clip's through the same construction.
    """
    motion = scene_motion(scene, cameras, times)
    if clip is None:
        frames, alpha = render_scene(scene, cameras, times)
        return warp_error(frames, alpha, motion)
    return warp_error(clip.on_background(), clip.alpha, motion)


def view_consistency(
    clip: OrbitalClip,
    *,
    static_clip: OrbitalClip | None = None,
    every: int = 4,
    steps: int = 400,
    size: int = 128,
    seed: int = 0,
    progress: bool = False,
) -> tuple[dict, Gaussians4D]:
    """Construct a scene without some frames of a clip and compare it with these: do the views show one object?

    Args:
        clip: an orbit (on which time runs too, so its motion must be smooth as well) or any clip that can be constructed.
        static_clip: the same object with time frozen; no frame of it is held out.
        every: frames every - 1, 2 every - 1... are held out, but never the last one; of a further frame of the same time, as
            several orbits have, others: no moment is held out of all orbits. steps, size, seed: of the construction.

    Returns: the figures, and the scene. `held_out_foreground_psnr` and `fitted_foreground_psnr` in dB: what the views that
    the construction saw allow, and their `gap`; frames, steps and seed. Compare only with a true clip's of the same setting.
    Raises InputError for clips of less than 2 * every frames or without foreground.
    """
    if every < 2 or steps < 1:
        raise InputError(f"every and steps: expected at least 2 and 1, got {every} and {steps}")
    if len(clip) < 2 * every:
        raise InputError(f"view consistency: needs {2 * every} frames to hold out every {every}th, got {len(clip)}")
    from ..splat.fit import FitConfig, fit

    clip = clip.resized(size)
    held = _held_out(clip.times.tolist(), every)
    kept = [i for i in range(len(clip)) if i not in held]
    config = replace(FitConfig.for_size(size, steps), seed=seed)
    still = None if static_clip is None else static_clip.resized(size)
    result = fit(clip[kept], static_clip=still, config=config, progress=progress)
    scores = [_foreground(result.scene, clip[frames]) for frames in (held, kept)]
    report = {
        "held_out_foreground_psnr": scores[0],
        "fitted_foreground_psnr": scores[1],
        "gap": round(scores[1] - scores[0], 3),
        "held_out_frames": len(held),
        "fitted_frames": len(kept),
        "steps": steps,
        "size": size,
        "seed": seed,
        "seconds": round(result.seconds, 1),
    }
    return report, result.scene


def _held_out(times: list[float], every: int) -> list[int]:
    """Each `every`th frame; shifted by one for each earlier frame of the same time, unless that is the first frame's."""
    earlier = [times[:i].count(t) if t != times[0] else 0 for i, t in enumerate(times)]
    return [i for i in range(len(times) - 1) if (i + earlier[i]) % every == every - 1]


def still_pixels(frames: Tensor, alpha: Tensor) -> Tensor:
    """(h, w): foreground pixels of a fixed camera's true frames (t, 3, h, w), alpha (t, 1, h, w), that never change."""
    both = torch.cat([frames, alpha], dim=1)
    change = (both.amax(dim=0) - both.amin(dim=0)).amax(dim=0)
    return (change <= STILL) & (alpha[:, 0] > FOREGROUND).all(dim=0)


def still_drift(frames: Tensor, still: Tensor) -> dict[str, float | None]:
    """How much pixels that should not change do, in frames (t, 3, h, w) of a fixed camera.

    Args:
        still: (h, w) which pixels: `still_pixels` of the truth, or all that a static object covers.

    Returns: mean absolute differences: `drift` from the first frame, `flicker` from each frame to the next; both None where
    no pixel is still; `pixels`: the share of the image that is. A frozen scene has 0.
    """
    if frames.ndim != 4 or tuple(still.shape) != tuple(frames.shape[-2:]) or len(frames) < 2:
        raise ValueError(
            f"frames must be (t, 3, h, w), t >= 2, and still (h, w), got {tuple(frames.shape)}, {tuple(still.shape)}"
        )
    share = float(still.float().mean())
    if share == 0:
        return {"drift": None, "flicker": None, "pixels": 0.0}
    values = frames[:, :, still]
    return {
        "drift": round(float((values[1:] - values[:1]).abs().mean()), 5),
        "flicker": round(float((values[1:] - values[:-1]).abs().mean()), 5),
        "pixels": round(share, 4),
    }


def scene_drift(scene: Gaussians4D, cameras: Cameras, times: Tensor, *, truth: OrbitalClip | None = None) -> dict:
    """`still_drift` of a scene's renders from the first of `cameras` at `times`.

    Of the parts that stand still in `truth`, a clip of that camera and those times; without it, of all that the scene covers
    at the first time: for an object that does not move at all, whose every change is an artefact.
    """
    fixed = cameras[[0] * len(times)]
    frames, alpha = render_scene(scene, fixed, times)
    if truth is None:
        return still_drift(frames, alpha[0, 0] > FOREGROUND)
    if len(truth) != len(times) or tuple(truth.rgb.shape[-2:]) != tuple(frames.shape[-2:]):
        raise ValueError(
            f"truth must have {len(times)} frames of {fixed.width} x {fixed.height}, got {tuple(truth.rgb.shape)}"
        )
    return still_drift(frames, still_pixels(truth.on_background(), truth.alpha))


def _foreground(scene: Gaussians4D, clip: OrbitalClip) -> float:
    frames, _ = render_scene(scene, clip.cameras, clip.times)
    values = foreground_psnr(frames, clip.on_background(), clip.alpha)
    values = values[values.isfinite()]
    if not len(values):
        raise InputError("view consistency: no held-out frame has foreground; expected a clip that shows its object")
    return round(float(values.mean()), 3)
