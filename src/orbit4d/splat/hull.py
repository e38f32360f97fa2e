"""Where construction starts: Gaussians on the surface of the visual hull, carved from the clips' alpha."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..cameras import Cameras
from ..clip import OrbitalClip
from ..errors import InputError
from .gaussians import SH_C0, Gaussians

COARSE_RESOLUTION = 40
NEAREST = 0.05
STATIC_MISSES = (0.0, 0.1, 0.25, 0.5)
DYNAMIC_MISSES = (0.15, 0.25, 0.4, 0.6)
"""Shares of the views in which a voxel may lie outside the silhouette, tried in turn until something is left.

In a static orbit a point of the object is inside every silhouette; in a moving one a limb leaves the place it had.
"""
INITIAL_OPACITY = 0.5


@dataclass(kw_only=True)
class Hull:
    """A carved voxel grid: surface voxel centres (k, 3) in world units, voxel size, and the misses that were allowed."""

    surface: Tensor
    voxel: float
    misses: float

    @property
    def center(self) -> Tensor:
        """(3,) middle of the bounding box."""
        return (self.surface.amin(dim=0) + self.surface.amax(dim=0)) / 2

    @property
    def half_extent(self) -> float:
        """Half of the largest side of the bounding box."""
        return float((self.surface.amax(dim=0) - self.surface.amin(dim=0)).max()) / 2 + self.voxel


@torch.no_grad()
def visual_hull(clip: OrbitalClip, *, moving: bool, resolution: int = 112) -> Hull:
    """Carve the visual hull of `clip` with `resolution` voxels along its longest side.

    A voxel stays when its centre projects into the silhouette (alpha > 0.5, grown by one pixel) in all but a share of the
    views: none in a static orbit, some in a `moving` one. Raises InputError when nothing is left at any tolerance.
    """
    if len(clip) < 2:
        raise InputError(f"clip: a visual hull needs at least 2 views, got {len(clip)}; pass an orbit")
    silhouettes = functional.max_pool2d((clip.alpha > 0.5).float(), 3, stride=1, padding=1)
    empty = int((clip.alpha.flatten(1).amax(dim=1) <= 0.5).sum())
    if empty == len(clip):
        raise InputError(
            "clip: alpha is empty (nothing above 0.5) in every frame; the object must be cut out of its background"
        )
    center, half = viewed_cube(clip.cameras)
    for share in DYNAMIC_MISSES if moving else STATIC_MISSES:
        allowed = int(share * len(clip))
        step = 2 * half / COARSE_RESOLUTION
        coarse = _carve(_grid(center - half, center + half, step), silhouettes, clip.cameras, allowed, reach=step)
        if len(coarse) == 0:
            continue
        low, high = coarse.amin(dim=0) - step / 2, coarse.amax(dim=0) + step / 2
        voxel = float((high - low).max()) / resolution
        inside = _grid(low, high, 4 * voxel)
        for size in (4 * voxel, 2 * voxel):  # an octree: most of the box is empty and is dropped in large cells
            inside = _subdivide(_carve(inside, silhouettes, clip.cameras, allowed, reach=size), size)
        inside = _carve(inside, silhouettes, clip.cameras, allowed)
        if len(inside) >= 8:
            return Hull(surface=_surface(inside, low, voxel), voxel=voxel, misses=share)
    raise InputError(
        "clip: no point of space lies inside enough of the silhouettes; cameras and frames disagree (wrong convention or "
        "order?), or the alpha channel does not show one object"
    )


def viewed_cube(cameras: Cameras) -> tuple[Tensor, float]:
    """Centre (least-squares meeting point of the optical axes) and half side of a cube that the views show."""
    axes, origins = cameras.camera_to_world[:, :3, 2], cameras.positions
    across = torch.eye(3) - axes[:, :, None] * axes[:, None, :]
    # A little of the identity keeps the system solvable when all axes are parallel.
    matrix = across.sum(dim=0) + 1e-4 * torch.eye(3)
    center = torch.linalg.solve(matrix, (across @ origins[..., None]).sum(dim=0)[:, 0])
    distance = (origins - center).norm(dim=-1)
    widest = torch.stack(
        [
            cameras.width / (2 * cameras.intrinsics[:, 0, 0]),
            cameras.height / (2 * cameras.intrinsics[:, 1, 1]),
        ]
    ).amax(dim=0)
    return center, float((distance * widest).max())


def _grid(low: Tensor, high: Tensor, step: float) -> Tensor:
    axes = [
        torch.arange(max(1, math.ceil(float(h - l) / step - 1e-6))) * step + step / 2 + l
        for l, h in zip(low, high, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)


def _subdivide(centers: Tensor, size: float) -> Tensor:
    """Centres of the eight children of cells of side `size`."""
    corner = torch.tensor([-size / 4, size / 4])
    return (centers[:, None] + torch.cartesian_prod(corner, corner, corner)).reshape(-1, 3)


def _carve(points: Tensor, silhouettes: Tensor, cameras: Cameras, allowed: int, *, reach: float = 0.0) -> Tensor:
    """The `points` that fall outside at most `allowed` silhouettes; `reach` (world units) grows the silhouettes."""
    missed = torch.zeros(len(points), dtype=torch.int32)
    for i in range(len(cameras)):
        camera = cameras[i : i + 1]
        mask = silhouettes[i : i + 1]
        if reach > 0:
            # The nearest point looks largest: its depth bounds the growth that any point needs.
            distance = max(float(camera.project(points[None])[1].min()), NEAREST)
            radius = math.ceil(0.87 * reach * float(camera.intrinsics[0, 0, 0]) / distance)
            for kernel, padding in (((2 * radius + 1, 1), (radius, 0)), ((1, 2 * radius + 1), (0, radius))):
                mask = functional.max_pool2d(mask, kernel, stride=1, padding=padding)
        pixels, depth = camera.project(points[None])
        column, row = pixels[0].floor().long().unbind(-1)
        visible = (depth[0] > 0) & (column >= 0) & (column < cameras.width) & (row >= 0) & (row < cameras.height)
        hit = mask[0, 0][row.clamp(0, cameras.height - 1), column.clamp(0, cameras.width - 1)] > 0
        missed += (~(hit & visible)).int()
        keep = missed <= allowed
        points, missed = points[keep], missed[keep]
        if len(points) == 0:
            break
    return points


def _surface(inside: Tensor, low: Tensor, voxel: float) -> Tensor:
    """The carved voxel centres with at least one empty neighbour of six."""
    index = ((inside - low) / voxel).floor().long() + 1
    shape = (index.amax(dim=0) + 2).tolist()
    grid = torch.zeros(shape, dtype=torch.bool)
    x, y, z = index.unbind(-1)
    grid[x, y, z] = True
    full = grid[x - 1, y, z] & grid[x + 1, y, z] & grid[x, y - 1, z] & grid[x, y + 1, z]
    full &= grid[x, y, z - 1] & grid[x, y, z + 1]
    return inside[~full]


@torch.no_grad()
def hull_gaussians(hull: Hull, clip: OrbitalClip, *, count: int, generator: torch.Generator) -> Gaussians:
    """`count` Gaussians spread over the hull's surface, coloured from the views that see them.

    Scales are half of the mean distance to the three nearest neighbours, the same in all directions.
    """
    k = len(hull.surface)
    rounds = math.ceil(count / k)
    order = torch.cat([torch.randperm(k, generator=generator) for _ in range(rounds)])[:count]
    means = hull.surface[order] + (torch.rand(count, 3, generator=generator) - 0.5) * hull.voxel
    colors = _colors_from_views(means, clip, hull.voxel)
    spacing = nearest_distance(means).clamp_min(hull.voxel / 4)
    quats = torch.zeros(count, 4)
    quats[:, 0] = 1
    return Gaussians(
        means=means,
        quats=quats,
        log_scales=torch.log(0.5 * spacing)[:, None].repeat(1, 3),
        logit_opacities=torch.full((count,), math.log(INITIAL_OPACITY / (1 - INITIAL_OPACITY))),
        sh=((colors - 0.5) / SH_C0)[:, None],
    )


def nearest_distance(points: Tensor, *, neighbors: int = 3) -> Tensor:
    """(n,) mean distance of each of `points` (n, 3) to its nearest others."""
    k = min(neighbors + 1, len(points))
    chunks = [torch.cdist(part, points).topk(k, largest=False).values[:, 1:].mean(dim=1) for part in points.split(1024)]
    return torch.cat(chunks)


def _colors_from_views(means: Tensor, clip: OrbitalClip, voxel: float) -> Tensor:
    """(n, 3) mean colour over the frames in which a point is nearest to the camera; the object's mean where none."""
    total, weight = torch.zeros(len(means), 3), torch.zeros(len(means), 1)
    distance = (clip.cameras.positions - means.mean(dim=0)).norm(dim=-1)
    for i in range(len(clip)):
        pixels, depth = clip.cameras[i : i + 1].project(means[None])
        pixels, depth = pixels[0], depth[0]
        # Occlusion by a z-buffer with cells about three voxels wide, so that surface samples leave no holes in it.
        cell = max(1.0, 3 * voxel * float(clip.cameras.intrinsics[i, 0, 0] / distance[i]))
        columns = math.ceil(clip.cameras.width / cell)
        rows = math.ceil(clip.cameras.height / cell)
        c = (pixels[:, 0] / cell).long().clamp(0, columns - 1)
        r = (pixels[:, 1] / cell).long().clamp(0, rows - 1)
        flat = r * columns + c
        buffer = torch.full((rows * columns,), torch.inf).scatter_reduce(0, flat, depth, "amin")
        seen = (depth <= buffer[flat] + 3 * voxel) & (depth > 0)
        grid = pixels / torch.tensor([clip.cameras.width, clip.cameras.height]) * 2 - 1
        rgba = torch.cat([clip.rgb[i] * clip.alpha[i], clip.alpha[i]])
        sample = functional.grid_sample(rgba[None], grid[None, None], align_corners=False)[0, :, 0].T
        total += sample[:, :3] * seen[:, None]
        weight += sample[:, 3:] * seen[:, None]
    average = (clip.rgb * clip.alpha).sum(dim=(0, 2, 3)) / clip.alpha.sum().clamp_min(1e-6)
    return torch.where(weight > 0.05, total / weight.clamp_min(0.05), average).clamp(0, 1)
