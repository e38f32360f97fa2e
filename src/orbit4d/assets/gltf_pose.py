"""Evaluating an asset at a time: node transforms, morph targets, skinning, in glTF's own axes."""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from .gltf_animation import Animation, sample
from .gltf_mesh import Primitive
from .gltf_scene import Node
from .gltf_text import word

MAX_COORDINATE = 1e18
"""Larger numbers overflow single precision once squared."""


class Tree:
    """Nodes as arrays, and in levels: a node's parent stands in an earlier one."""

    def __init__(self, name: str, nodes: list[Node], order: list[int], animations: list[Animation]) -> None:
        self.name, self.nodes, self.animations = name, nodes, animations
        self.rest = {
            "translation": np.array([n.translation for n in nodes]).reshape(-1, 3),
            "rotation": np.array([n.rotation for n in nodes]).reshape(-1, 4),
            "scale": np.array([n.scale for n in nodes]).reshape(-1, 3),
        }
        self.fixed = np.array([n.matrix is not None for n in nodes])
        self.matrices = np.array([np.eye(4) if n.matrix is None else n.matrix for n in nodes]).reshape(-1, 4, 4)
        self.parents = np.array([n.parent for n in nodes])
        depths = np.zeros(len(nodes), np.int64)
        for i in order:
            depths[i] = depths[nodes[i].parent] + 1 if nodes[i].parent >= 0 else 0
        by_depth = np.argsort(depths, kind="stable")
        self.levels = np.split(by_depth, np.flatnonzero(np.diff(depths[by_depth])) + 1)[1:]

    def world_matrices(self, animation: int | None, seconds: float) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """Node -> glTF world matrices (n, 4, 4), and the animated morph weights by node.

        Raises InputError when they overflow.
        """
        values = {key: array.copy() for key, array in self.rest.items()}
        fixed = self.fixed.copy()
        morphs: dict[int, np.ndarray] = {}
        with np.errstate(over="ignore", invalid="ignore"):  # refused below, in one line
            for channels, sampled in [] if animation is None else sample(self.animations[animation], seconds):
                if channels.path == "weights":
                    morphs.update(zip(channels.nodes.tolist(), sampled, strict=True))
                else:
                    values[channels.path][channels.nodes] = sampled
                    fixed[channels.nodes] = False
            out = _compose(values["translation"], values["rotation"], values["scale"])
            out[fixed] = self.matrices[fixed]
            for level in self.levels:
                out[level] = out[self.parents[level]] @ out[level]
        wild = ~(np.abs(out) <= MAX_COORDINATE).all(axis=(1, 2))
        if wild.any():
            i = int(np.flatnonzero(wild)[0])
            raise InputError(
                f"{self.name}: the transforms above node {i} {word(self.nodes[i].name)!r} overflow at {seconds:.3g} s; "
                "apply the scales and export the file again"
            )
        return out, morphs


def _compose(translation: np.ndarray, rotation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(n, 4, 4) from translations (n, 3), quaternions xyzw (n, 4) of any length, scales (n, 3)."""
    unit = rotation / np.maximum(np.linalg.norm(rotation, axis=1, keepdims=True), 1e-12)
    x, y, z, w = unit.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    m = np.zeros((len(unit), 4, 4))
    m[:, :3, :3] = np.moveaxis(np.array(rows), -1, 0) * scale[:, None]
    m[:, :3, 3] = translation
    m[:, 3, 3] = 1
    return m


def posed_primitive(
    p: Primitive, matrix: np.ndarray, palette: np.ndarray | None, morph_weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n, 3) and unit normals (n, 3) float32 under `palette` (j, 4, 4) where it is skinned, else under `matrix`.

    Positions may overflow, which the caller refuses; normals are always finite.
    """
    v, n = _morphed(p, morph_weights)
    if palette is not None and p.joints is not None and p.weights is not None:
        v, n = _skinned(v, n, p.joints, p.weights, palette)
    else:
        v, n = v @ matrix[:3, :3].T + matrix[:3, 3], n @ _normal_matrix(matrix[:3, :3]).T
    v = v.astype(np.float32)
    if p.flat:
        corners = v[p.indices].reshape(-1, 3, 3).astype(np.float64)
        n = np.empty_like(v, dtype=np.float64)
        n[p.indices] = np.repeat(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), 3, axis=0)
    n = n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-30)
    return v, np.nan_to_num(n.astype(np.float32), posinf=0, neginf=0)


def _normal_matrix(m: np.ndarray) -> np.ndarray:
    """(3, 3): the inverse transposed, up to a positive factor; exists for singular ones too."""
    m = m / max(float(np.abs(m).max()), 1e-30)
    cofactors = np.stack([np.cross(m[1], m[2]), np.cross(m[2], m[0]), np.cross(m[0], m[1])])
    return -cofactors if float(np.linalg.det(m)) < 0 else cofactors


def _morphed(p: Primitive, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    v, n = p.positions, p.normals
    for (dv, dn), w in zip(p.morphs, weights.tolist(), strict=False):
        if w:
            v = v + w * dv
            n = n if dn is None else n + w * dn
    return v, n


def _skinned(
    v: np.ndarray, n: np.ndarray, joints: np.ndarray, weights: np.ndarray, palette: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Linear blend skinning: the matrices (j, 4, 4) of each vertex's joints, averaged by its weights (n, k)."""
    flat = palette[:, :3].reshape(-1, 12).astype(np.float32)
    blend = weights[:, :1] * flat[joints[:, 0]]
    for k in range(1, joints.shape[1]):
        blend += weights[:, k : k + 1] * flat[joints[:, k]]
    blend = blend.reshape(-1, 3, 4)
    v, n = v.astype(np.float32, copy=False), n.astype(np.float32, copy=False)
    return (
        np.einsum("vij,vj->vi", blend[:, :, :3], v) + blend[:, :, 3],
        np.einsum("vij,vj->vi", blend[:, :, :3], n),
    )
