"""From where a scene is looked at first."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from ..cameras import Cameras, Orbit
from ..splat.gaussians import Gaussians4D

STANDARD = Orbit()
SEEN_AT_STANDARD = STANDARD.radius * math.sin(math.radians(STANDARD.fov_deg / 2)) * 1.07
"""Radius around the origin that the standard orbit shows (our renders fill it to the edge, hence the 7 %)."""
NEAREST = 0.2
"""The rasterisers draw nothing closer than 0.05 to a camera."""


@dataclass(kw_only=True)
class Home:
    """An orbit's centre (x, y, z) and radius in world units."""

    target: tuple[float, float, float] = (0.0, 0.0, 0.0)
    radius: float = STANDARD.radius

    def orbit(self, frames: int, size: int) -> tuple[Cameras, torch.Tensor]:
        """Cameras of one level turn around the target, and their times in [0, 1]."""
        orbit = replace(STANDARD, frames=frames, radius=self.radius)
        cameras = orbit.cameras(size)
        cameras.camera_to_world[:, :3, 3] += torch.tensor(self.target)
        return cameras, orbit.times


@torch.no_grad()
def home_view(scene: Gaussians4D) -> Home:
    """The standard orbit (radius 2 around the origin) where it shows the whole scene and not merely a speck; else one
    that frames the scene: reconstructions keep the units and the origin of their cameras."""
    sets = scene.sampled(torch.linspace(0, 1, 5))
    keep = sets[0].logit_opacities > 0
    keep = keep if bool(keep.any()) else torch.ones_like(keep)
    points = torch.cat([g.means[keep] for g in sets])

    def rank(values: torch.Tensor, share: float) -> torch.Tensor:
        return values.kthvalue(max(1, round(share * len(values))), dim=0).values

    center = (rank(points, 0.005) + rank(points, 0.995)) / 2
    reach = float(rank((points - center).norm(dim=-1), 0.99))
    farthest = float(rank(points.norm(dim=-1), 0.99))
    if farthest <= SEEN_AT_STANDARD and farthest > 0.15:
        return Home()
    radius = max(reach / math.sin(math.radians(STANDARD.fov_deg / 2)) * 1.05, NEAREST)
    return Home(target=(float(center[0]), float(center[1]), float(center[2])), radius=radius)
