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
NEAR_FRAMES = 5
"""Frames next to the anchor that a moving hull must cover."""
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Of moving parts, tried in turn: half extents of the body per unit of time."""
UNCOVERED = 0.01
"""Share of the silhouettes next to the anchor that may stay uncovered."""
ROOM = 0.7
"""How far, in half extents, a moving part may lie outside the box around the body."""
DISTANCE_SIZE = 128
"""Pixels of the larger side of distance maps; they only decide where cells are worth dividing, and how far parts move."""
HALF_DIAGONAL = math.sqrt(3) / 2
"""Of a cube of side 1."""
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
    return _carved(_Silhouettes(clip), moving=moving, resolution=resolution).hull()


@torch.no_grad()
def moving_hull(clip: OrbitalClip, *, anchor: float, resolution: int = 112) -> Hull:
    """The hull of the object at time `anchor` from a *moving* `clip`: complete in the frames next to that time.

    What many views agree on is the body (`visual_hull`). Parts that move are in no place for long: they are carved with
    silhouettes that grow with their distance in time from the anchor, at the least speed for which the hull covers what
    the frames next to it show.
    """
    away = (clip.times - anchor).abs()
    views = _Silhouettes(clip, order=away.argsort())
    carved = _carved(views, moving=True, resolution=resolution)
    body = carved.hull()
    near = views.order[: max(NEAR_FRAMES, int((away < away.min() + 1e-4).sum()))]
    wanted = views.distance[near] == 0
    margin = ROOM * body.half_extent
    for speed in SPEEDS:
        missing = wanted & ~views.covered(carved.inside, near, carved.voxel)
        if float(missing.sum()) < UNCOVERED * float(wanted.sum()):
            break
        grow = speed * body.half_extent * away
        grow[near] = 0
        holes = torch.stack([_distance(m.float()) for m in missing])
        size = 8 * carved.voxel
        low = carved.low - math.ceil(margin / size) * size
        points = _grid(low, body.center + body.half_extent + margin, size)
        while len(points):
            last = size < 1.5 * carved.voxel
            reach = 0.0 if last else size * HALF_DIAGONAL
            votes = torch.stack([views.within(reach, i, points, hole) for i, hole in zip(near, holes, strict=True)])
            points = points[votes.float().mean(dim=0) >= 0.5]
            points = views.carve(points, 0, grow=grow, cell=0.0 if last else size)
            if last:
                break
            points, size = _subdivide(points, size), size / 2
        carved.inside = torch.cat([carved.inside, points])
    return carved.hull()


@dataclass
class _Carved:
    """Centres of the voxels that are left (k, 3), a corner of their grid (3,), voxel size, misses allowed."""

    inside: Tensor
    low: Tensor
    voxel: float
    misses: float

    def hull(self) -> Hull:
        low = self.low - torch.ceil((self.low - self.inside.amin(dim=0)).clamp_min(0) / self.voxel) * self.voxel
        return Hull(surface=_surface(self.inside, low, self.voxel), voxel=self.voxel, misses=self.misses)


def _carved(views: _Silhouettes, *, moving: bool, resolution: int) -> _Carved:
    count = len(views.cameras)
    if count < 2:
        raise InputError(f"clip: a visual hull needs at least 2 views, got {count}; pass an orbit")
    if not bool(views.masks.any()):
        raise InputError(
            "clip: alpha is empty (nothing above 0.5) in every frame; the object must be cut out of its background"
        )
    center, half = viewed_cube(views.cameras)
    for share in DYNAMIC_MISSES if moving else STATIC_MISSES:
        allowed = int(share * count)
        step = 2 * half / COARSE_RESOLUTION
        coarse = views.carve(_grid(center - half, center + half, step), allowed, cell=2 * step)
        if len(coarse) == 0:
            continue
        low, high = coarse.amin(dim=0) - step / 2, coarse.amax(dim=0) + step / 2
        voxel = float((high - low).max()) / resolution
        inside = _grid(low, high, 4 * voxel)
        for size in (4 * voxel, 2 * voxel):  # an octree: most of the box is empty and is dropped in large cells
            inside = _subdivide(views.carve(inside, allowed, cell=size), size)
        inside = views.carve(inside, allowed)
        if len(inside) >= 8:
            return _Carved(inside, low, voxel, share)
    raise InputError(
        "clip: no point of space lies inside enough of the silhouettes; cameras and frames disagree (wrong convention or "
        "order?), or the alpha channel does not show one object"
    )


class _Silhouettes:
    """Masks (f, h, w) grown by one pixel, and smaller maps of the distance to them in pixels of their own."""

    def __init__(self, clip: OrbitalClip, *, order: Tensor | None = None) -> None:
        self.cameras = clip.cameras
        self.order = torch.arange(len(clip)) if order is None else order
        grown = functional.max_pool2d((clip.alpha > 0.5).float(), 3, stride=1, padding=1)
        self.masks = grown[:, 0] > 0
        shrink = max(1.0, max(self.masks.shape[1:]) / DISTANCE_SIZE)
        height, width = (max(1, round(n / shrink)) for n in self.masks.shape[1:])
        self.small = self.cameras.resized(width, height)
        self.distance = torch.stack([_distance(m[0]) for m in functional.adaptive_max_pool2d(grown, (height, width))])

    def carve(self, points: Tensor, allowed: int, *, grow: Tensor | None = None, cell: float = 0.0) -> Tensor:
        """The `points` that fall outside at most `allowed` silhouettes.

        `grow` (f,): world units by which each silhouette is wider; `cell`: side of the cubes that the points stand for,
        of which any part may be inside.
        """
        missed = torch.zeros(len(points), dtype=torch.int32)
        for i in self.order.tolist():
            reach = cell * HALF_DIAGONAL + (0.0 if grow is None else float(grow[i]))
            masked = reach == 0  # to the pixel
            hit = self._on_mask(i, points) if masked else self.within(reach, i, points, self.distance[i])
            missed += (~hit).int()
            keep = missed <= allowed
            points, missed = points[keep], missed[keep]
            if len(points) == 0:
                break
        return points

    def within(self, reach: float, i: int | Tensor, points: Tensor, distance: Tensor) -> Tensor:
        """Which points come nearer than `reach` (world units) to what `distance` (h, w) is measured from, seen by camera i."""
        camera = self.small[i : i + 1]
        pixels, depth = (x[0] for x in camera.project(points[None]))
        corner = torch.tensor([camera.width - 1.0, camera.height - 1.0])
        inside = torch.minimum(pixels.floor().clamp_min(0), corner)
        column, row = inside.long().unbind(-1)
        away = distance[row, column] + (pixels.floor() - inside).norm(dim=-1)
        radius = reach * float(camera.intrinsics[0, 0, 0]) / depth.clamp_min(NEAREST) + 1.0
        return (away <= radius) & (depth > 0)

    def _on_mask(self, i: int, points: Tensor) -> Tensor:
        camera = self.cameras[i : i + 1]
        pixels, depth = (x[0] for x in camera.project(points[None]))
        column, row = pixels.floor().long().unbind(-1)
        visible = (depth > 0) & (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
        return self.masks[i][row.clamp(0, camera.height - 1), column.clamp(0, camera.width - 1)] & visible

    def covered(self, points: Tensor, frames: Tensor, voxel: float) -> Tensor:
        """(f, h, w) which pixels of the distance maps' `frames` voxels at `points` cover."""
        images = torch.zeros(len(frames), *self.distance.shape[1:])
        for image, i in zip(images, frames.tolist(), strict=True):
            pixels, depth = (x[0] for x in self.small[i : i + 1].project(points[None]))
            column, row = pixels.floor().long().unbind(-1)
            ok = (depth > 0) & (column >= 0) & (column < image.shape[1]) & (row >= 0) & (row < image.shape[0])
            image[row[ok], column[ok]] = 1
            radius = math.ceil(0.5 * voxel * float(self.small.intrinsics[i, 0, 0] / depth.mean()))
            image.copy_(functional.max_pool2d(image[None, None], 2 * radius + 1, stride=1, padding=radius)[0, 0])
        return images > 0


def _distance(mask: Tensor) -> Tensor:
    """(h, w) Euclidean distance in pixels of every pixel to the nearest that `mask` holds; huge where it holds none."""
    height, width = mask.shape
    x, y = torch.arange(width, dtype=torch.float32), torch.arange(height, dtype=torch.float32)
    along = torch.where(mask[:, None] > 0, (x[:, None] - x).square(), 1e12).amin(dim=-1)
    return (along[None] + (y[:, None] - y).square()[..., None]).amin(dim=1).sqrt()


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
    return _round_gaussians(means, colors, spacing)


def _round_gaussians(means: Tensor, colors: Tensor, spacing: Tensor) -> Gaussians:
    count = len(means)
    quats = torch.zeros(count, 4)
    quats[:, 0] = 1
    return Gaussians(
        means=means,
        quats=quats,
        log_scales=torch.log(0.5 * spacing)[:, None].repeat(1, 3),
        logit_opacities=torch.full((count,), math.log(INITIAL_OPACITY / (1 - INITIAL_OPACITY))),
        sh=((colors - 0.5) / SH_C0)[:, None],
    )


@torch.no_grad()
def random_gaussians(hull: Hull, *, count: int, generator: torch.Generator) -> Gaussians:
    """`count` grey Gaussians anywhere in a cube of twice the hull's size: what the hull and its colours are worth."""
    means = hull.center + 2 * hull.half_extent * (2 * torch.rand(count, 3, generator=generator) - 1)
    return _round_gaussians(means, torch.full((count, 3), 0.5), nearest_distance(means))


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
