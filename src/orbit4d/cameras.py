"""Cameras and camera paths: with `clip.py` the only places that know coordinate conventions.

World: right-handed, z up, metres-free units with the object centred at the origin. Cameras: OpenCV axes
(x right, y down, z forward). Pixel centres lie at +0.5. See docs/conventions.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

OPENGL_FROM_OPENCV = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
WORLD_FROM_GLTF = torch.tensor([[1.0, 0, 0, 0], [0, 0, -1.0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1.0]])
"""glTF (x, y, z), y up -> world (x, -z, y), z up: what `assets/gltf.py` poses its vertices with."""


MAX_ORBITS = 4
"""Phase-shifted orbits that are sampled together: so many views of every moment."""


@dataclass(kw_only=True)
class Cameras:
    """A batch of pinhole cameras.

    Attributes:
        camera_to_world: (*b, 4, 4) rigid transforms, OpenCV camera axes, world units.
        intrinsics: (*b, 3, 3) in pixels; pixel (row 0, column 0) has its centre at (0.5, 0.5).
        width, height: image size in pixels, the same for the whole batch.
    """

    camera_to_world: Tensor
    intrinsics: Tensor
    width: int
    height: int

    def __post_init__(self) -> None:
        c2w, k = self.camera_to_world, self.intrinsics
        if c2w.shape[-2:] != (4, 4):
            raise ValueError(f"camera_to_world must have shape (*b, 4, 4), got {tuple(c2w.shape)}")
        if k.shape != (*c2w.shape[:-2], 3, 3):
            raise ValueError(f"intrinsics must have shape {(*c2w.shape[:-2], 3, 3)}, got {tuple(k.shape)}")
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"width and height must be positive, got {self.width} x {self.height}")

    def __len__(self) -> int:
        return self.camera_to_world.shape[0]

    def __getitem__(self, index: int | slice | list[int] | Tensor) -> Cameras:
        return replace(self, camera_to_world=self.camera_to_world[index], intrinsics=self.intrinsics[index])

    @property
    def world_to_camera(self) -> Tensor:
        """(*b, 4, 4), the rigid inverse of `camera_to_world`."""
        rotation = self.camera_to_world[..., :3, :3].transpose(-1, -2)
        out = torch.zeros_like(self.camera_to_world)
        out[..., :3, :3] = rotation
        out[..., :3, 3:] = -rotation @ self.camera_to_world[..., :3, 3:]
        out[..., 3, 3] = 1
        return out

    @property
    def positions(self) -> Tensor:
        """(*b, 3) camera centres in world units."""
        return self.camera_to_world[..., :3, 3]

    @classmethod
    def from_opengl(cls, camera_to_world: Tensor, intrinsics: Tensor, *, width: int, height: int) -> Cameras:
        """From OpenGL/Blender/nerfstudio camera axes (x right, y up, z backward) in the same z-up world."""
        flip = OPENGL_FROM_OPENCV.to(camera_to_world)
        return cls(camera_to_world=camera_to_world @ flip, intrinsics=intrinsics, width=width, height=height)

    def to_opengl(self) -> Tensor:
        """(*b, 4, 4) camera-to-world with OpenGL camera axes (x right, y up, z backward)."""
        return self.camera_to_world @ OPENGL_FROM_OPENCV.to(self.camera_to_world)

    def to(self, device: torch.device | str) -> Cameras:
        """The same on `device`."""
        return replace(self, camera_to_world=self.camera_to_world.to(device), intrinsics=self.intrinsics.to(device))

    def resized(self, width: int, height: int) -> Cameras:
        """The same views at another resolution."""
        scale = torch.tensor([width / self.width, height / self.height, 1.0]).to(self.intrinsics)
        return replace(self, intrinsics=scale[:, None] * self.intrinsics, width=width, height=height)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """World points (*b, n, 3) (or (n, 3)) to pixels (*b, n, 2) and camera-z depth (*b, n)."""
        w2c = self.world_to_camera
        camera = points @ w2c[..., :3, :3].transpose(-1, -2) + w2c[..., None, :3, 3]
        depth = camera[..., 2]
        homogeneous = camera @ self.intrinsics.transpose(-1, -2)
        return homogeneous[..., :2] / homogeneous[..., 2:], depth

    def rays(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Unit directions (*b, rows, columns, 3) and origins (*b, 1, 1, 3) through the centres of a rows x columns grid."""
        device, dtype = self.intrinsics.device, self.intrinsics.dtype
        v = (torch.arange(rows, device=device, dtype=dtype) + 0.5) * self.height / rows
        u = (torch.arange(columns, device=device, dtype=dtype) + 0.5) * self.width / columns
        vv, uu = torch.meshgrid(v, u, indexing="ij")
        pixels = torch.stack([uu, vv, torch.ones_like(uu)], dim=-1)
        directions = pixels @ torch.linalg.inv(self.intrinsics)[..., None, :, :].transpose(-1, -2)
        directions = directions @ self.camera_to_world[..., None, :3, :3].transpose(-1, -2)
        directions = torch.nn.functional.normalize(directions, dim=-1)
        return directions, self.positions[..., None, None, :]

    def plucker(self, rows: int, columns: int) -> Tensor:
        """Pluecker coordinates (*b, rows, columns, 6) = (d, o x d) of the rays through a rows x columns grid."""
        directions, origins = self.rays(rows, columns)
        return torch.cat([directions, torch.cross(origins.expand_as(directions), directions, dim=-1)], dim=-1)


def look_at_origin(azimuth_deg: Tensor, elevation_deg: Tensor, radius: Tensor) -> Tensor:
    """(n, 4, 4) OpenCV camera-to-world on a sphere around the origin, image up = world z.

    azimuth 0 is the camera at (0, -radius, 0) looking along +y; positive azimuth moves it counter-clockwise seen from
    +z (towards +x). Elevation is above the xy plane, in (-90, 90).
    """
    phi, theta = torch.deg2rad(azimuth_deg.double()), torch.deg2rad(elevation_deg.double())
    outward = torch.stack([theta.cos() * phi.sin(), -theta.cos() * phi.cos(), theta.sin()], dim=-1)
    forward = -outward
    right = torch.stack([phi.cos(), phi.sin(), torch.zeros_like(phi)], dim=-1)
    down = torch.cross(forward, right, dim=-1)
    c2w = torch.zeros(len(phi), 4, 4, dtype=torch.float64)
    c2w[:, :3, 0], c2w[:, :3, 1], c2w[:, :3, 2] = right, down, forward
    c2w[:, :3, 3] = outward * radius.double()[:, None]
    c2w[:, 3, 3] = 1
    return c2w.float()


def intrinsics_from_fov(fov_deg: float, width: int, height: int) -> Tensor:
    """(3, 3) pixel intrinsics; `fov_deg` spans the larger image side (Blender's AUTO sensor fit)."""
    focal = max(width, height) / (2 * math.tan(math.radians(fov_deg) / 2))
    return torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float32)


@dataclass(kw_only=True, frozen=True)
class Orbit:
    """Diffusion4D's orbital path: azimuth_i = start + 360 i / (frames - 1), time_i = i / (frames - 1).

    The last view repeats the first. A static orbit uses the same cameras with all times 0; a front clip uses the first
    camera for all times.
    """

    frames: int = 24
    radius: float = 2.0
    elevation_deg: float = 0.0
    azimuth_start_deg: float = 0.0
    fov_deg: float = 39.6

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise ValueError(f"frames must be at least 2, got {self.frames}")
        if not -89 <= self.elevation_deg <= 89:
            raise ValueError(f"elevation_deg must lie in [-89, 89], got {self.elevation_deg}")

    @property
    def azimuths_deg(self) -> Tensor:
        """(frames,) azimuths in degrees."""
        return self.azimuth_start_deg + 360.0 * torch.arange(self.frames) / (self.frames - 1)

    @property
    def times(self) -> Tensor:
        """(frames,) in [0, 1]."""
        return torch.arange(self.frames) / (self.frames - 1)

    def cameras(self, size: int | tuple[int, int] = 128) -> Cameras:
        """The path's cameras for square images of `size`, or (width, height)."""
        width, height = (size, size) if isinstance(size, int) else size
        ones = torch.ones(self.frames)
        c2w = look_at_origin(self.azimuths_deg, self.elevation_deg * ones, self.radius * ones)
        k = intrinsics_from_fov(self.fov_deg, width, height).expand(self.frames, 3, 3).clone()
        return Cameras(camera_to_world=c2w, intrinsics=k, width=width, height=height)
