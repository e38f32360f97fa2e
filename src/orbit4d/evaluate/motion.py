"""How much an asset moves, and whether what moves is motion.

Motion magnitude m is a mean of squared differences: it counts flicker and drift as readily as motion. So m of an asset stands
beside m of the same asset with its paths smoothed over time, which flicker does not survive, and beside the change of the
parts whose smoothed paths stand still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor
from torch.nn import functional

from ..cameras import Cameras
from ..splat.gaussians import Gaussians, Gaussians4D
from .consistency import still_drift
from .metrics import FOREGROUND, motion_magnitude

STILL_PIXELS = 0.5
"""What never moves by more, in pixels, along its smoothed path, is still."""
SMOOTHING = (0.25, 0.5, 0.25)
"""Weights of a moment and its two neighbours: takes out what returns every other frame, and a tenth of a motion of 8 frames."""


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation in [-1, 1] of two series of one length >= 2; equal values share their mean rank.

    0 where either is constant: there is no order to agree with. Raises ValueError for other lengths or non-finite values.
    """
    x, y = (torch.tensor([float(v) for v in values], dtype=torch.float64) for values in (a, b))
    if len(x) != len(y) or len(x) < 2 or not bool(torch.isfinite(torch.cat([x, y])).all()):
        raise ValueError(f"two series of one length, 2 or more finite values, expected; got {len(x)} and {len(y)}")
    ranks = [_ranks(v) - (len(v) - 1) / 2 for v in (x, y)]
    scale = ranks[0].norm() * ranks[1].norm()
    return float(ranks[0] @ ranks[1] / scale) if scale > 0 else 0.0


@torch.no_grad()
def asset_motion(scene: Gaussians4D, cameras: Cameras, times: Tensor) -> dict:
    """Motion of a generated asset, as its own renders show it.

    Args:
        cameras, times: one orbit, t cameras and as many ascending times (t,) in [0, 1]. The renders have the cameras' size.

    Returns:
        `m`: `motion_magnitude` of the moving orbit against the same orbit with time frozen at 0, on white.
        `m_smoothed`: the same where every Gaussian's position, rotation, size, opacity and colour is averaged over its
            neighbouring moments (SMOOTHING). Motion is smooth and hardly changes; flicker is not and does.
        `still`: `still_drift` (drift from the first frame, flicker from each to the next) over the pixels of the first camera
            and of the one a quarter of the way on that, at all times, show only what never moves by half a pixel along
            its smoothed path; `of_object` is their share of the object. None where nothing is still.
    """
    if times.ndim != 1 or len(times) != len(cameras) or len(times) < 3 or bool((times.diff() <= 0).any()):
        raise ValueError(f"times must ascend and be as many as the cameras, 3 or more; got {tuple(times.shape)}")
    moments, t = scene.sampled(times), len(times)
    smooth = smoothed(moments)
    views = cameras[[0, t // 4]]
    shown = [_fixed_view(moments, smooth, views[i : i + 1]) for i in range(2)]
    frames, still, object_ = (torch.cat(parts, dim=-1) for parts in zip(*shown, strict=True))
    found = still_drift(frames, still)
    return {
        "m": _magnitude(moments, scene.at(0.0).detach(), cameras),
        "m_smoothed": _magnitude(smooth, smooth[0], cameras),
        "still": {
            "drift": found["drift"],
            "flicker": found["flicker"],
            "of_object": round(float(still.sum() / object_.sum().clamp_min(1)), 4),
        },
    }


@torch.no_grad()
def scene_magnitude(scene: Gaussians4D, cameras: Cameras, times: Tensor) -> float:
    """`motion_magnitude` on white of one orbit, t cameras and times (t,) in [0, 1], against the same frozen at time 0."""
    return _magnitude(scene.sampled(times), scene.at(0.0).detach(), cameras)


def smoothed(moments: list[Gaussians]) -> list[Gaussians]:
    """The same Gaussians at successive moments, each the weighted mean of itself and its neighbours (SMOOTHING).

    At both ends the one neighbour counts twice, so that what alternates vanishes there too: the first moment is what all
    others are compared with.
    """
    stacked = {f.name: torch.stack([getattr(m, f.name) for m in moments]) for f in fields(Gaussians)}
    quats = functional.normalize(stacked["quats"], dim=-1)
    # q and -q are one rotation: on the side of the first moment's they can be averaged.
    stacked["quats"] = quats * torch.where((quats * quats[:1]).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    low, middle, high = SMOOTHING
    for name, values in stacked.items():
        padded = torch.cat([values[1:2], values, values[-2:-1]])
        stacked[name] = low * padded[:-2] + middle * padded[1:-1] + high * padded[2:]
    return [Gaussians(**{name: values[i] for name, values in stacked.items()}) for i in range(len(moments))]


def _magnitude(moments: list[Gaussians], frozen: Gaussians, cameras: Cameras) -> float:
    """`motion_magnitude` on white: each moment from its camera against `frozen` from the same."""
    return float(motion_magnitude(_draw(moments, cameras), _draw([frozen] * len(moments), cameras)))


def _fixed_view(moments: list[Gaussians], smooth: list[Gaussians], camera: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    """What one camera sees over time (t, 3, h, w), which pixels (h, w) show only what is still, and which the object."""
    from ..splat.rasterize import render_batch

    places = camera.project(torch.stack([m.means for m in smooth]).flatten(0, 1)[None])[0][0]
    places = places.view(len(smooth), -1, 2)
    way = (places - places[:1]).norm(dim=-1).amax(dim=0).nan_to_num(torch.inf).clamp_max(1e3)
    still, shown = torch.ones(camera.height, camera.width, dtype=torch.bool), None
    for m in smooth:
        drawn = render_batch(
            means=m.means,
            quats=m.quats,
            log_scales=m.log_scales,
            logit_opacities=m.logit_opacities,
            colors=way[:, None].expand(-1, 3).contiguous(),
            cameras=camera,
        )
        solid = drawn.alpha[0, 0] > FOREGROUND
        still &= solid & (drawn.rgb[0, 0] < STILL_PIXELS * drawn.alpha[0, 0])
        shown = solid if shown is None else shown
    return _draw(moments, camera[[0] * len(moments)]), still, torch.zeros_like(still) if shown is None else shown


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 0; equal values share the mean of theirs."""
    below = (values[None] < values[:, None]).sum(dim=1)
    return below + ((values[None] == values[:, None]).sum(dim=1) - 1) / 2


def _draw(moments: list[Gaussians], cameras: Cameras) -> Tensor:
    """(t, 3, h, w) on white: each moment from its camera."""
    from ..splat.rasterize import render

    frames = [render(m, cameras[i : i + 1], background=1.0).rgb for i, m in enumerate(moments)]
    return torch.cat(frames).clamp(0, 1)
