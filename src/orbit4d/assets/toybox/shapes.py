"""Lofts: rings of vertices along a line, from which every part of a toy is made. All shapes are closed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

Point = tuple[float, float, float]


@lru_cache(maxsize=64)
def section(square: float, columns: int) -> np.ndarray:
    """(columns, 2): a closed outline within [-1, 1]^2, evenly spaced; 0 is a circle, towards 1 a rounded square."""
    phi = np.linspace(0, 2 * np.pi, 721)
    outline = np.stack([_power(np.cos(phi), 1 - square), _power(np.sin(phi), 1 - square)], 1)
    return _resample(outline, columns + 1)[:-1]


@lru_cache(maxsize=64)
def profile(square: float, rows: int) -> np.ndarray:
    """(rows, 2): (radius, height) of half such an outline, from (0, -1) to (0, 1)."""
    theta = np.linspace(-np.pi / 2, np.pi / 2, 361)
    outline = np.stack([_power(np.cos(theta), 1 - square), _power(np.sin(theta), 1 - square)], 1)
    return _resample(outline, rows)


def _power(x: np.ndarray, exponent: float) -> np.ndarray:
    x = np.where(np.abs(x) < 1e-12, 0, x)
    return np.sign(x) * np.abs(x) ** exponent


def _resample(line: np.ndarray, count: int) -> np.ndarray:
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
    wanted = np.linspace(0, length[-1], count)
    return np.stack([np.interp(wanted, length, line[:, k]) for k in range(line.shape[1])], 1)


def rotation(x: float = 0, y: float = 0, z: float = 0) -> np.ndarray:
    """(3, 3) rotation by degrees about x, then y, then z."""
    out = np.eye(3)
    for axis, angle in ((0, x), (1, y), (2, z)):
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        m = np.eye(3)
        a, b = [(1, 2), (2, 0), (0, 1)][axis]
        m[a, a], m[a, b], m[b, a], m[b, b] = c, -s, s, c
        out = m @ out
    return out


def smooth_line(points: np.ndarray, count: int) -> np.ndarray:
    """Catmull-Rom through `points` (k, d): (count, d), evenly spaced in the curve's parameter."""
    k = len(points)
    if k == 2:
        return points[0] + (points[1] - points[0]) * np.linspace(0, 1, count)[:, None]
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    s = np.linspace(0, k - 1, count)
    i = np.minimum(s.astype(int), k - 2)
    u = (s - i)[:, None]
    p0, p1, p2, p3 = (padded[i + j] for j in range(4))
    return 0.5 * (2 * p1 + (p2 - p0) * u + (2 * p0 - 5 * p1 + 4 * p2 - p3) * u**2 + (3 * p1 - p0 - 3 * p2 + p3) * u**3)


def loft(
    centres: np.ndarray, u: np.ndarray, v: np.ndarray, radii: np.ndarray, *, square: float, columns: int
) -> np.ndarray:
    """(rows, columns, 3): an outline of half-sizes `radii` (rows, 2) along unit axes u, v (rows, 3) at each centre."""
    ring = section(square, columns)
    along_u = (u * radii[:, :1])[:, None] * ring[None, :, :1]
    return centres[:, None] + along_u + (v * radii[:, 1:])[:, None] * ring[None, :, 1:]


def ball(at: np.ndarray, size: np.ndarray, turn: np.ndarray, *, square: float, rows: int, columns: int) -> np.ndarray:
    """Grid of a superellipsoid of half-sizes `size` whose poles lie on its (turned) y axis."""
    half = profile(square, rows)
    x, y, z = turn.T
    centres = at + half[:, 1:] * size[1] * y
    radii = half[:, :1] * size[[0, 2]]
    return loft(centres, np.tile(x, (rows, 1)), np.tile(-z, (rows, 1)), radii, square=square, columns=columns)


def tube(
    points: np.ndarray, radii: np.ndarray, *, up: np.ndarray, square: float, cap: float, rows: int, columns: int
) -> np.ndarray:
    """Grid of a rounded tube through `points` (k, 3); `radii` (k, 2) are half its width and half its thickness.

    The thickness lies along `up`, made perpendicular to the line. `cap`: how far the ends bulge, in units of the smaller
    radius there.
    """
    line = smooth_line(np.concatenate([points, radii], 1), rows)
    centres, widths = line[:, :3], np.maximum(line[:, 3:], 1e-4)
    tangent = np.gradient(centres, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    v = up - (tangent @ up)[:, None] * tangent
    v /= np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-9)
    u = np.cross(v, tangent)
    angle = np.linspace(0, np.pi / 2, 5)[1:]
    ends = []
    for end, sign in ((0, -1), (-1, 1)):
        out = sign * np.sin(angle)[:, None] * tangent[end] * widths[end].min() * cap + centres[end]
        ends.append((out, np.cos(angle)[:, None] * widths[end]))
    centres = np.concatenate([ends[0][0][::-1], centres, ends[1][0]])
    widths = np.concatenate([ends[0][1][::-1], widths, ends[1][1]])
    u, v = (np.concatenate([np.repeat(a[:1], 4, 0), a, np.repeat(a[-1:], 4, 0)]) for a in (u, v))
    return loft(centres, u, v, widths, square=square, columns=columns)


def lathe(at: np.ndarray, axis: np.ndarray, outline: np.ndarray, *, columns: int) -> np.ndarray:
    """Grid of a body of revolution: `outline` (rows, 2) of (distance along the axis, radius), radius 0 at both ends."""
    axis = axis / np.linalg.norm(axis)
    other = np.array([0, 0, 1.0]) if abs(axis[2]) < 0.8 else np.array([1.0, 0, 0])
    v = other - (other @ axis) * axis
    v /= np.linalg.norm(v)
    rows = len(outline)
    radii = np.repeat(np.maximum(outline[:, 1:], 1e-5), 2, 1)
    u = np.tile(np.cross(v, axis), (rows, 1))
    return loft(at + outline[:, :1] * axis, u, np.tile(v, (rows, 1)), radii, square=0, columns=columns)


def normals(grid: np.ndarray) -> np.ndarray:
    """Unit normals (rows, columns, 3) of a grid that closes around its columns and collapses at both ends."""
    around = np.roll(grid, -1, 1) - np.roll(grid, 1, 1)
    along = np.gradient(grid, axis=0)
    out = np.cross(around, along)
    centres = grid.mean(1)
    for end, inner in ((0, 1), (-1, -2)):
        # The rings before the tip share its point almost; the axis is the only sensible normal there.
        out[end] = centres[end] - centres[inner]
    length = np.linalg.norm(out, axis=2, keepdims=True)
    return np.where(length > 1e-12, out / np.maximum(length, 1e-12), [0, 1, 0])


@lru_cache(maxsize=256)
def grid_triangles(rows: int, columns: int, closed: bool) -> np.ndarray:
    """(m, 3). `closed` joins the last column to the first; otherwise the grid has a seam. No triangles without area."""
    width = columns if closed else columns - 1
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(width), indexing="ij")
    k = (j + 1) % columns
    a, b, c, d = i * columns + j, i * columns + k, (i + 1) * columns + k, (i + 1) * columns + j
    first, second = np.stack([a, b, c], -1)[1:], np.stack([a, c, d], -1)[:-1]
    return np.concatenate([first.reshape(-1, 3), second.reshape(-1, 3)])
