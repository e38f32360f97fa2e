"""From feature maps of frames to features of moving points: what a diffusion model saw, carried onto the object.

For every frame k of the maps, at its time t_k, a point's *deformed* position x(t_k) is projected into that frame; where it
is not hidden there, both maps are read. The spatial feature of a point is its mean over all frames that see it,

    z_s(x) = sum_k v_k(x) Z_s,k(pi_k(x(t_k))) / sum_k v_k(x),

the temporal one is kept for every moment: z_t(x, t_k) is the mean over the frames of that moment, and a point that none
of them sees takes the value of the nearest point that one does. No gradient flows through any of it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..clip import SpatioTemporalFeatures
from ..errors import InputError
from .hexplane import PointFeatures

LIMIT = 3.0


def check_features(features: SpatioTemporalFeatures) -> None:
    """Raise InputError for maps that do not belong together."""
    k = len(features.times)
    for name in ("z_s", "z_t"):
        value = getattr(features, name)
        if value.ndim != 4 or len(value) != k or not torch.isfinite(value).all():
            raise InputError(
                f"features: {name} must be finite maps ({k}, channels, h, w), one a time, got {tuple(value.shape)}"
            )
    if len(features.cameras) != k or k == 0:
        raise InputError(f"features: {k} times need as many cameras, got {len(features.cameras)}")
    if float(features.times.min()) < 0 or float(features.times.max()) > 1:
        raise InputError("features: times must lie in [0, 1]")


def standardized(maps: Tensor) -> Tensor:
    """(k, c, h, w) with mean 0 and deviation 1 a channel, cut off at `LIMIT` deviations."""
    mean, deviation = maps.mean(dim=(0, 2, 3), keepdim=True), maps.std(dim=(0, 2, 3), keepdim=True)
    return ((maps - mean) / deviation.clamp_min(1e-6)).clamp(-LIMIT, LIMIT)


@torch.no_grad()
def lift_features(
    features: SpatioTemporalFeatures, *, canonical: Tensor, positions: Tensor, depth: Tensor, tolerance: float
) -> PointFeatures:
    """Features of m points.

    Args:
        canonical: (m, 3) where the points rest. positions: (k, m, 3) where they are at each of the k frames' times.
        depth: (k, 1, h, w) camera-z of the object in each frame, 0 where it is not; any resolution.
        tolerance: world units that a point may lie behind the seen surface and still count as seen.
    """
    pixels, distance = features.cameras.project(positions)
    size = torch.tensor([features.cameras.width, features.cameras.height], dtype=pixels.dtype)
    grid = (pixels / size * 2 - 1)[:, None]
    surface = _read(depth, grid, mode="nearest")[..., 0]
    seen = (distance > 0) & (grid[:, 0].abs() <= 1).all(dim=-1) & (surface > 0) & (distance < surface + tolerance)
    spatial, temporal = _read(features.z_s, grid), _read(features.z_t, grid)
    weight = seen[..., None].to(spatial)
    z_s = _filled((spatial * weight).sum(dim=0), weight.sum(dim=0), canonical)
    times, moment = features.times.unique(return_inverse=True)
    z_t = []
    for i in range(len(times)):
        w = weight[moment == i]
        z_t.append(_filled((temporal[moment == i] * w).sum(dim=0), w.sum(dim=0), canonical))
    return PointFeatures(z_s=z_s, z_t=torch.stack(z_t), times=times)


def _read(maps: Tensor, grid: Tensor, mode: str = "bilinear") -> Tensor:
    """(k, m, c) values of (k, c, h, w) maps at (k, 1, m, 2) places in [-1, 1]."""
    return functional.grid_sample(maps, grid, mode=mode, align_corners=False)[:, :, 0].transpose(1, 2)


def _filled(total: Tensor, weight: Tensor, canonical: Tensor) -> Tensor:
    """(m, c) means; a point without weight takes the nearest one's that has some, zeros where none has."""
    known = weight[:, 0] > 0
    if not bool(known.any()):
        return torch.zeros_like(total)
    mean = total / weight.clamp_min(1e-9)
    nearest = torch.cdist(canonical, canonical[known]).argmin(dim=1)
    return torch.where(known[:, None], mean, mean[known][nearest])
