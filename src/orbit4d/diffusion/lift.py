"""A coarse volume inside the spatial stream: tokens are carried along their rays into voxels and rendered back.

    V(x) = g( mean_f w_f F_f(pi_f(x)), variance_f ),    y(ray) = sum_s T_s (1 - exp(-sigma(x_s) delta)) V(x_s)

pi_f projects into frame f's token grid, w_f is a learned weight a token, g two 3D convolutions with density sigma.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .geometry import camera_frames


class Lift(nn.Module):
    """Adds to every token what the volume of all frames shows along its ray; starts as the identity."""

    def __init__(
        self, width: int, *, channels: int = 32, side: int = 8, samples: int = 12, extent: float = 0.75
    ) -> None:
        """A cube of side^3 voxels reaches from -extent to +extent on each world axis; `samples` points along each ray."""
        super().__init__()
        self.side, self.samples, self.extent = side, samples, extent
        self.norm = nn.LayerNorm(width)
        self.down = nn.Linear(width, channels + 1)
        self.mix = nn.Conv3d(2 * channels, channels, 3, padding=1)
        self.voxel = nn.Conv3d(channels, channels + 1, 1)
        self.up = nn.Linear(channels + 2, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def points(self, plucker: Tensor) -> tuple[Tensor, Tensor]:
        """The fixed geometry of one forward: where the voxels lie in each frame's token grid (b, f, side^3, 2), and the
        samples along each token's ray as volume coordinates (b, f, p, samples, 3); both in [-1, 1] as for grid_sample."""
        pose, focal = camera_frames(plucker)
        axis = (torch.arange(self.side, device=plucker.device, dtype=plucker.dtype) + 0.5) * 2 / self.side - 1
        z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
        voxels = self.extent * torch.stack([x, y, z], dim=-1).flatten(0, 2)
        camera = voxels @ pose[..., :3, :3].transpose(-1, -2) + pose[..., None, :3, 3]
        pixels = focal[..., None, :] * camera[..., :2] / camera[..., 2:].clamp_min(1e-3)
        pixels = torch.where(camera[..., 2:] > 1e-3, pixels, 2.0)  # behind the camera: outside the image
        d, moment = plucker.flatten(2, 3).split(3, dim=-1)
        closest = torch.cross(d, moment, dim=-1)
        steps = (torch.arange(self.samples, device=d.device, dtype=d.dtype) + 0.5) * 2 / self.samples - 1
        along = 1.2 * self.extent * steps
        return pixels, (closest[..., None, :] + along[:, None] * d[..., None, :]) / self.extent

    def forward(self, z: Tensor, points: tuple[Tensor, Tensor], same: Tensor | None) -> Tensor:
        """z (b, f, p, d); same (b, f, f) True where two frames share a moment, None when all frames make one volume."""
        b, f, p, _ = z.shape
        pixels, samples = points
        features, weight = self.down(self.norm(z)).float().split([self.down.out_features - 1, 1], dim=-1)
        weight = F.softplus(weight)
        maps = torch.cat([weight * features, weight * features.square(), weight], dim=-1)
        maps = maps.flatten(0, 1).transpose(1, 2).unflatten(-1, (round(p**0.5), -1))
        seen = F.grid_sample(maps, pixels.flatten(0, 1)[:, :, None], align_corners=False)[..., 0].unflatten(0, (b, f))
        together = seen.new_ones(b, 1, f) if same is None else same.to(seen.dtype)
        gathered = (together @ seen.flatten(2)).unflatten(-1, seen.shape[2:])
        c = features.shape[-1]
        total = gathered[:, :, 2 * c :] + 1e-3
        mean, square = gathered[:, :, :c] / total, gathered[:, :, c : 2 * c] / total
        volume = torch.cat([mean, (square - mean.square()).clamp_min(0)], dim=2).flatten(0, 1)
        volume = self.voxel(F.silu(self.mix(volume.unflatten(-1, (self.side,) * 3))))
        grid = samples.reshape(len(volume), -1, self.samples, 1, 3)
        sampled = F.grid_sample(volume.float(), grid, align_corners=False)[..., 0]  # (b or b f, c + 1, rays, samples)
        return z + self.up(self._render(sampled)).reshape(b, f, p, -1).to(z.dtype)

    def _render(self, sampled: Tensor) -> Tensor:
        """(n, c + 1, rays, samples) -> (n, rays, c + 2): composited features, opacity and expected position along the ray."""
        length = 2.4 / self.samples
        thickness = F.softplus(sampled[:, -1]) * length * 4
        before = torch.cumsum(thickness, dim=-1) - thickness
        weight = torch.exp(-before) * (1 - torch.exp(-thickness))
        features = (sampled[:, :-1] * weight[:, None]).sum(-1)
        place = torch.linspace(-1, 1, self.samples, device=sampled.device, dtype=sampled.dtype)
        extra = torch.stack([weight.sum(-1), (weight * place).sum(-1)], dim=1)
        return torch.cat([features, extra], dim=1).transpose(1, 2)
