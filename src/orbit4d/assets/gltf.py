"""Reading animated glTF 2.0 (.glb, or .gltf with its buffers beside it) and posing it at any time.

Everything comes out as NumPy arrays in orbit4d's world: right-handed, z up; glTF (x, y, z) becomes (x, -z, y), so that
the model's front (+Z in glTF) faces the camera at azimuth 0.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from ..cameras import WORLD_FROM_GLTF
from ..errors import InputError
from .gltf_animation import Animation, read_animations, sample
from .gltf_container import Container
from .gltf_scene import Node, Primitive, Skin, read_scene

ALTERNATIVES = "@alternatives"
MAX_COORDINATE = 1e18
"""Larger entries of a node's matrix overflow single precision once squared."""
_AXES = WORLD_FROM_GLTF[:3, :3].numpy()


@dataclass(kw_only=True)
class Posed:
    """World-space vertices of every primitive at one time: positions and unit normals, each a list of (n, 3) float32."""

    positions: list[np.ndarray]
    normals: list[np.ndarray]


@dataclass(kw_only=True)
class Asset:
    """A loaded file: primitives, node tree (`order`: parents first), skins and animations. `pose` evaluates it.

    `metadata` is what the file says of itself (title, author, copyright, generator, caption, ...): short strings by name.
    """

    name: str
    primitives: list[Primitive]
    nodes: list[Node]
    order: list[int]
    skins: list[Skin]
    animations: list[Animation]
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def triangles(self) -> int:
        return sum(len(p.indices) // 3 for p in self.primitives)

    def pose(self, animation: int | None, seconds: float) -> Posed:
        """Vertices at `seconds` of animation number `animation` (None: the rest pose), in the z-up world.

        Raises InputError when nested transforms overflow there.
        """
        matrices, morphs = self._world_matrices(animation, seconds)
        positions, normals = [], []
        for p in self.primitives:
            v, n = _morphed(p, morphs.get(p.node, p.morph_weights))
            if p.skin is not None and p.joints is not None and p.weights is not None:
                v, n = _skinned(
                    v, n, p.joints, p.weights, matrices[self.skins[p.skin].joints] @ self.skins[p.skin].inverse
                )
            else:
                m = matrices[p.node]
                v, n = v @ m[:3, :3].T + m[:3, 3], n @ np.linalg.pinv(m[:3, :3])
            n = n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-12)
            positions.append(np.nan_to_num(v.astype(np.float32) @ _AXES.T, posinf=0, neginf=0))
            normals.append(np.nan_to_num(n.astype(np.float32) @ _AXES.T, posinf=0, neginf=0))
        return Posed(positions=positions, normals=normals)

    def _world_matrices(self, animation: int | None, seconds: float) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """Node -> glTF world matrices (n, 4, 4), and the animated morph weights by node."""
        values = {
            "translation": np.array([n.translation for n in self.nodes]),
            "rotation": np.array([n.rotation for n in self.nodes]),
            "scale": np.array([n.scale for n in self.nodes]),
        }
        fixed = np.array([n.matrix is not None for n in self.nodes])
        morphs: dict[int, np.ndarray] = {}
        for channels, sampled in [] if animation is None else sample(self.animations[animation], seconds):
            if channels.path == "weights":
                morphs.update(zip(channels.nodes.tolist(), sampled, strict=True))
            else:
                values[channels.path][channels.nodes] = sampled
                fixed[channels.nodes] = False
        out = _compose(values["translation"], values["rotation"], values["scale"])
        with np.errstate(over="ignore", invalid="ignore"):  # refused below, in one line
            for i in self.order:
                node = self.nodes[i]
                if fixed[i] and node.matrix is not None:
                    out[i] = node.matrix
                if node.parent >= 0:
                    out[i] = out[node.parent] @ out[i]
        wild = ~(np.abs(out) <= MAX_COORDINATE).all(axis=(1, 2))
        if wild.any():
            i = int(np.flatnonzero(wild)[0])
            raise InputError(
                f"{self.name}: the transforms above node {i} {self.nodes[i].name[:60]!r} overflow at {seconds:.3g} s; "
                "apply the scales and export the file again"
            )
        return out, morphs


def load_glb(path: str | Path, *, hide: Sequence[str] = ()) -> Asset:
    """Read a .glb or .gltf; `hide` leaves meshes out (see `without`).

    Raises InputError (one line) for anything missing, damaged, oversized or unsupported.
    """
    path = Path(path)
    try:
        file = Container(path)
        scene = read_scene(file)
        animations = read_animations(file, len(scene.nodes))
        asset = Asset(
            name=path.stem,
            primitives=scene.primitives,
            nodes=scene.nodes,
            order=scene.order,
            skins=scene.skins,
            animations=animations,
        )
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its name and permissions") from error
    except (
        ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError, struct.error,
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: damaged glTF ({type(error).__name__}: {reason}); export the file again") from error
    return without(asset, hide) if hide else asset


def without(asset: Asset, patterns: Sequence[str]) -> Asset:
    """The asset without the meshes whose node, or a node above it, matches one of `patterns` (``*`` and ``?``, any case).

    Characters are often shipped with every accessory they could carry, all visible. The pattern ``@alternatives`` is a
    rule for these: of several rigid meshes that hang on the same joint of a skeleton (a hand's weapons), the first stays.
    It is not the default, because a robot's head may be built of many rigid meshes in the same way.

    Raises InputError when a pattern matches nothing or nothing would be left.
    """
    names = sorted({p.name for p in asset.primitives})
    hidden: set[int] = set()
    for pattern in patterns:
        if pattern == ALTERNATIVES:
            hidden |= _alternatives(asset)
            continue
        matched = {p.node for p in asset.primitives if any(_matches(n, pattern) for n in _lineage(asset, p))}
        if not matched:
            raise InputError(f"{asset.name}: --hide {pattern!r} matches no mesh; it has: {', '.join(names)[:400]}")
        hidden |= matched
    primitives = [p for p in asset.primitives if p.node not in hidden]
    if not primitives:
        raise InputError(
            f"{asset.name}: --hide {' '.join(patterns)} hides every mesh; it has: {', '.join(names)[:400]}"
        )
    return replace(asset, primitives=primitives)


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name.lower(), pattern.lower())


def _lineage(asset: Asset, p: Primitive) -> list[str]:
    names, node = [p.name], p.node
    while node >= 0:
        names.append(asset.nodes[node].name)
        node = asset.nodes[node].parent
    return names


def _alternatives(asset: Asset) -> set[int]:
    """Nodes of rigid meshes on a joint that has drawn another one already."""
    joints = {int(j) for skin in asset.skins for j in skin.joints}
    first: dict[int, int] = {}
    for p in asset.primitives:
        parent = asset.nodes[p.node].parent
        if p.skin is None and parent in joints:
            first.setdefault(parent, p.node)
    kept = set(first.values())
    return {p.node for p in asset.primitives if p.skin is None and asset.nodes[p.node].parent in joints} - kept


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


def _morphed(p: Primitive, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    v, n = p.positions, p.normals
    for (dv, dn), w in zip(p.morphs, weights, strict=False):
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
