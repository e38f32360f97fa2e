"""The toybox's modelling clay: rounded parts, each bound to a joint, collected into one skinned mesh."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .glb_writer import Joint, SkinnedMesh

Color = np.ndarray
Paint = Callable[[np.ndarray, Color], np.ndarray]
"""Colours vertices: unit-shape positions (n, 3) and the base colour (3,) -> (n, 3)."""


def plain(_: np.ndarray, color: Color) -> np.ndarray:
    return np.broadcast_to(color, (len(_), 3))


def _grid(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Polar angle, azimuth (rows x columns flattened) and the triangles of a closed grid."""
    theta, phi = np.meshgrid(np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi, columns + 1)[:-1], indexing="ij")
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    k = (j + 1) % columns
    a, b, c, d = i * columns + j, i * columns + k, (i + 1) * columns + k, (i + 1) * columns + j
    # With y along the polar axis and z = sin, x = cos, this order faces outwards.
    triangles = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], -2).reshape(-1, 3)
    return theta.ravel(), phi.ravel(), triangles


def superellipsoid(roundness: float, rows: int = 11, columns: int = 14) -> tuple[np.ndarray, np.ndarray]:
    """Unit shape along y: 1 is a sphere, towards 0 a box with rounded edges. Returns positions (n, 3), triangles."""
    theta, phi, triangles = _grid(rows, columns)

    def power(x: np.ndarray) -> np.ndarray:
        return np.sign(x) * np.abs(x) ** roundness

    positions = np.stack(
        [power(np.sin(theta)) * power(np.cos(phi)), power(np.cos(theta)), power(np.sin(theta)) * power(np.sin(phi))], -1
    )
    return positions, triangles


def cone(rows: int = 8, columns: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """A rounded cone along y: base at -1, tip at +1."""
    theta, phi, triangles = _grid(rows, columns)
    y = np.cos(theta)
    radius = np.where(y > -0.85, (1 - y) / 1.85, (1 - y) / 1.85 * np.sqrt(np.maximum(1 - ((-0.85 - y) / 0.15) ** 2, 0)))
    return np.stack([radius * np.cos(phi), y, radius * np.sin(phi)], -1), triangles


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


class Builder:
    """Collects joints and parts in glTF space (y up, the toy faces +z)."""

    def __init__(self) -> None:
        self.joints: list[Joint] = []
        self.world: list[np.ndarray] = []
        self.parts: list[tuple[np.ndarray, ...]] = []

    def joint(self, name: str, parent: int, at: tuple[float, float, float]) -> int:
        """Add a joint at the world position `at`; returns its index."""
        position = np.array(at, dtype=float)
        self.joints.append(
            Joint(name=name, parent=parent, offset=position - (self.world[parent] if parent >= 0 else 0))
        )
        self.world.append(position)
        return len(self.joints) - 1

    def index(self, name: str) -> int:
        return next(i for i, j in enumerate(self.joints) if j.name == name)

    def add(
        self,
        joint: int,
        at: tuple[float, float, float],
        size: tuple[float, float, float],
        color: Color,
        *,
        shape: str = "round",
        turn: np.ndarray | None = None,
        paint: Paint = plain,
        blend: int | None = None,
    ) -> None:
        """A part of half-sizes `size` centred at world `at`, bound to `joint`.

        shape: "round", "soft" (rounded box), "box" or "cone". `blend`: joint that takes over towards the part's upper end.
        """
        unit, triangles = (
            cone() if shape == "cone" else superellipsoid({"round": 1.0, "soft": 0.55, "box": 0.25}[shape])
        )
        matrix = (np.eye(3) if turn is None else turn) @ np.diag(size)
        positions = unit @ matrix.T + np.array(at)
        normals = _normals(positions, triangles)
        weights = np.zeros((len(unit), 4))
        joints = np.zeros((len(unit), 4), dtype=int)
        share = np.clip(unit[:, 1] * 0.5 + 0.5, 0, 1) ** 2 if blend is not None else np.zeros(len(unit))
        weights[:, 0], weights[:, 1] = 1 - share, share
        joints[:, 0], joints[:, 1] = joint, blend if blend is not None else 0
        colors = np.clip(paint(unit, color), 0, 1)
        self.parts.append((positions, normals, colors, joints, weights, triangles))

    def mirrored(self, side: float, at: tuple[float, float, float]) -> tuple[float, float, float]:
        return (side * at[0], at[1], at[2])

    def mesh(self) -> SkinnedMesh:
        positions, normals, colors, joints, weights, triangles = zip(*self.parts, strict=True)
        offsets = np.cumsum([0, *[len(p) for p in positions]])
        return SkinnedMesh(
            positions=np.concatenate(positions),
            normals=np.concatenate(normals),
            colors=np.concatenate(colors),
            joints=np.concatenate(joints),
            weights=np.concatenate(weights),
            triangles=np.concatenate([t + o for t, o in zip(triangles, offsets, strict=False)]),
        )


def _normals(positions: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (positions[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    out = np.zeros_like(positions)
    for k in range(3):
        np.add.at(out, triangles[:, k], face)
    # The rings at the poles collapse to a point; all their vertices share one normal.
    outward = positions - positions.mean(0)
    length = np.linalg.norm(out, axis=1, keepdims=True)
    out = np.where(
        length > 1e-9,
        out / np.maximum(length, 1e-9),
        outward / np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9),
    )
    return np.where((out * outward).sum(1, keepdims=True) < -0.3, -out, out)
