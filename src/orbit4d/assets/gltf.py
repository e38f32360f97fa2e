"""Reading animated glTF 2.0 (.glb, or .gltf with its buffers beside it) and posing it at any time.

Everything comes out as NumPy arrays in orbit4d's world: right-handed, z up; glTF (x, y, z) becomes (x, -z, y), so that
the model's front (+Z in glTF) faces the camera at azimuth 0.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

import numpy as np

from ..cameras import WORLD_FROM_GLTF
from ..errors import InputError
from .gltf_animation import Animation, read_animations
from .gltf_container import Container
from .gltf_mesh import Primitive
from .gltf_pose import MAX_COORDINATE, Tree, posed_primitive
from .gltf_scene import Node, Skin, read_scene
from .gltf_text import plain, read_metadata, word

ALTERNATIVES = "@alternatives"
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
    `scenes` are the names of all its scenes, of which one was read.
    """

    name: str
    primitives: list[Primitive]
    nodes: list[Node]
    order: list[int]
    skins: list[Skin]
    animations: list[Animation]
    metadata: dict[str, str] = field(default_factory=dict)
    scenes: list[str] = field(default_factory=list)

    @property
    def triangles(self) -> int:
        return sum(len(p.indices) // 3 for p in self.primitives)

    def pose(self, animation: int | None, seconds: float) -> Posed:
        """Vertices at `seconds` of animation number `animation` (None: the rest pose), in the z-up world. Always finite.

        Raises InputError when nested transforms or vertices overflow there.
        """
        matrices, morphs = self.tree.world_matrices(animation, seconds)
        used = {p.skin for p in self.primitives if p.skin is not None and p.joints is not None}
        positions, normals = [], []
        with np.errstate(over="ignore", invalid="ignore"):  # refused below, in one line
            palettes = {k: matrices[self.skins[k].joints] @ self.skins[k].inverse for k in used}
            for p in self.primitives:
                palette = None if p.skin is None else palettes.get(p.skin)
                v, n = posed_primitive(p, matrices[p.node], palette, morphs.get(p.node, p.morph_weights))
                if len(v) and not float(np.abs(v).max()) <= MAX_COORDINATE:
                    raise InputError(
                        f"{self.name}: vertices of mesh {word(p.name)!r} overflow at {seconds:.3g} s; apply the scales and "
                        "export the file again"
                    )
                positions.append(v @ _AXES.T)
                normals.append(n @ _AXES.T)
        return Posed(positions=positions, normals=normals)

    @cached_property
    def tree(self) -> Tree:
        """The node tree, prepared for evaluation."""
        return Tree(self.name, self.nodes, self.order, self.animations)


def load_glb(path: str | Path, *, hide: Sequence[str] = (), scene: int | str | None = None) -> Asset:
    """Read a .glb or .gltf; `hide` leaves meshes out (see `without`); `scene` is a number or name (None: the default).

    Raises InputError (one line) for anything missing, damaged, oversized or unsupported.
    """
    path = Path(path)
    try:
        file = Container(path)
        found = read_scene(file, scene)
        asset = Asset(
            name=path.stem,
            primitives=found.primitives,
            nodes=found.nodes,
            order=found.order,
            skins=found.skins,
            animations=read_animations(file, len(file.json["nodes"])),
            metadata=read_metadata(file.json, found.record),
            scenes=found.names,
        )
        asset.primitives = _outward(asset)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its name and permissions") from error
    except (
        ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError, struct.error,
    ) as error:  # fmt: skip
        raise InputError(
            f"{path}: damaged glTF ({type(error).__name__}: {plain(error, 120)}); export the file again"
        ) from error
    return without(asset, hide) if hide else asset


def _outward(asset: Asset) -> list[Primitive]:
    """Primitives whose triangles run counter-clockwise as glTF means it: a transform that mirrors reverses them."""
    matrices, _ = asset.tree.world_matrices(None, 0.0)
    out = []
    for p in asset.primitives:
        matrix = matrices[p.node]
        if p.skin is not None and p.joints is not None and len(p.joints):
            joint = int(p.joints[0, int(np.argmax(p.weights[0]))]) if p.weights is not None else 0
            matrix = matrices[asset.skins[p.skin].joints[joint]] @ asset.skins[p.skin].inverse[joint]
        with np.errstate(all="ignore"):
            mirrored = float(np.linalg.det(matrix[:3, :3])) < 0
        reversed_ = p.indices.reshape(-1, 3)[:, ::-1].reshape(-1)
        out.append(replace(p, indices=reversed_) if mirrored else p)
    return out


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
