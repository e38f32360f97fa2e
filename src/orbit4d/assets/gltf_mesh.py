"""Triangle meshes of a glTF file: attributes, morph targets and skinning weights, validated so that posing cannot fail."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import InputError
from .gltf_compressed import DRACO, DracoMesh
from .gltf_container import Container
from .gltf_materials import Material, Materials
from .gltf_text import plain, word

MAX_VERTICES = 3_000_000
MAX_TRIANGLES = 5_000_000
MAX_PRIMITIVES = 5_000
MAX_TARGETS = 5_000
"""Morph targets of one primitive."""
MAX_WORK = 100_000_000
"""Vertices times what moves them (morph targets, joints of a vertex), all primitives: a second or two for one pose."""
TRIANGLE_MODES = (4, 5, 6)


@dataclass(kw_only=True)
class Primitive:
    """One triangle mesh: rest-pose attributes in glTF object space, its node, and what deforms it.

    Attributes:
        node: index of the node that draws it.
        positions, normals: (n, 3) float32; uvs (n, 2), already transformed; colors (n, 4) linear factors in [0, 1].
        indices: (3 m,) int64 vertex numbers, counter-clockwise seen from outside in the rest pose's world.
        morphs: offsets of each target: positions (n, 3) and, where given, normals (n, 3).
        morph_weights: (targets,) at rest.
        joints, weights: (n, k) joint numbers of `skin` and their normalised weights, or None.
        flat: the file gives no normals: every triangle has vertices of its own, and its normal follows from its pose.
    """

    node: int
    name: str
    positions: np.ndarray
    normals: np.ndarray
    indices: np.ndarray
    uvs: np.ndarray
    colors: np.ndarray
    material: Material
    morphs: list[tuple[np.ndarray, np.ndarray | None]]
    morph_weights: np.ndarray
    joints: np.ndarray | None = None
    weights: np.ndarray | None = None
    skin: int | None = None
    flat: bool = False

    @property
    def work(self) -> int:
        """Vertices times what moves each."""
        columns = 0 if self.joints is None else self.joints.shape[1]
        return len(self.positions) * (1 + len(self.morphs) + columns)


class Meshes:
    """Reads the primitives of a file's meshes, each once however many nodes draw it."""

    def __init__(self, file: Container, joint_counts: list[int]) -> None:
        self.file, self.joint_counts = file, joint_counts
        self.materials = Materials(file)
        self._read: dict[tuple[int, int | None], list[Primitive]] = {}
        self.drawn = self.vertices = self.triangles = self.work = 0

    def draw(self, node: int, record: dict, *, instance: bool = False) -> list[Primitive]:
        """The triangle primitives of the mesh that node record `record` names, for node number `node`."""
        mesh = self.file.record("meshes", record["mesh"])
        skin = None if instance else record.get("skin")
        if skin is not None:
            self.file.record("skins", skin)
        name = plain(record.get("name", mesh.get("name", "")))
        key = (record["mesh"], skin)
        self._bound(self.drawn + len(mesh["primitives"]), MAX_PRIMITIVES, "meshes are drawn")  # before any is decoded
        if key not in self._read:
            self._read[key] = [
                _primitive(self.file, p, name=name, materials=self.materials, skin=skin, joint_counts=self.joint_counts)
                for p in mesh["primitives"]
                if p.get("mode", 4) in TRIANGLE_MODES and "POSITION" in p.get("attributes", {})
            ]
        weights = record.get("weights", mesh.get("weights", []))
        out = [
            replace(p, node=node, name=name, morph_weights=_rest_weights(self.file, weights, len(p.morphs)))
            for p in self._read[key]
            if len(p.indices)
        ]
        self._count(out)
        return out

    def _count(self, primitives: list[Primitive]) -> None:
        self.drawn += len(primitives)
        self.vertices += sum(len(p.positions) for p in primitives)
        self.triangles += sum(len(p.indices) // 3 for p in primitives)
        self.work += sum(p.work for p in primitives)
        self._bound(self.vertices, MAX_VERTICES, "vertices are drawn")
        self._bound(self.triangles, MAX_TRIANGLES, "triangles are drawn")
        self._bound(self.work, MAX_WORK, "products of vertices with morph targets and joints are needed for a pose")

    def _bound(self, value: int, limit: int, what: str) -> None:
        if value > limit:
            raise InputError(f"{self.file.path}: more than {limit} {what}; decimate or merge its meshes")


def _rest_weights(file: Container, stored: Any, count: int) -> np.ndarray:
    weights = np.zeros(count, np.float32)
    if not isinstance(stored, list):
        raise InputError(f"{file.path}: morph weights are {word(stored)}, expected numbers; export the file again")
    given = np.array(stored[:count], dtype=float).reshape(-1)[:count]
    weights[: len(given)] = np.nan_to_num(np.clip(given, -1e6, 1e6))
    return weights


class _Reader:
    """Accessors of one primitive, whose vertices must agree in number; Draco data stands in for them where there is any."""

    def __init__(self, file: Container, p: dict, name: str) -> None:
        self.file, self.name, self.attributes = file, word(name), p["attributes"]
        self.draco: DracoMesh | None = None
        extension = p.get("extensions", {}).get(DRACO)
        position = file.record("accessors", self.attributes["POSITION"])
        if extension is not None and (file.decodes(DRACO) or "bufferView" not in position):
            indices = int(file.record("accessors", p["indices"])["count"])
            self.draco = DracoMesh(file, extension, indices=indices, points=int(position["count"]))
        self.positions = self._accessor("POSITION", width=3)
        self.count = len(self.positions)
        self.indices = self._indices(p)

    def __contains__(self, key: str) -> bool:
        return key in self.attributes

    def __getitem__(self, key: str) -> np.ndarray:
        return self._accessor(key)

    def _accessor(self, key: str, **expected: Any) -> np.ndarray:
        decoded = None if self.draco is None else self.draco.attributes.get(key)
        return self.file.accessor(self.attributes[key], decoded=decoded, **expected)

    def attribute(self, key: str, **expected: Any) -> np.ndarray:
        return self._same(self._accessor(key, **expected))

    def target(self, accessor: Any) -> np.ndarray:
        return self._same(self.file.accessor(accessor, width=3))

    def _same(self, array: np.ndarray) -> np.ndarray:
        if len(array) != self.count:
            raise InputError(
                f"{self.file.path}: mesh {self.name!r} has {self.count} positions but {len(array)} of another attribute; "
                "export it again"
            )
        return array

    def _indices(self, p: dict) -> np.ndarray:
        if self.draco is not None:
            indices = self.draco.indices
        elif "indices" in p:
            stored = self.file.accessor(p["indices"], width=1, integer=True)[:, 0]
            self.file.spend(24 * len(stored), "triangle indices")
            indices = stored.astype(np.int64)
        else:
            self.file.spend(24 * self.count, "triangle indices")
            indices = np.arange(self.count)
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < self.count:
            raise InputError(
                f"{self.file.path}: mesh {self.name!r} indexes vertex {int(indices.max())} of {self.count}; export it again"
            )
        return _triangles(indices, 4 if self.draco is not None else p.get("mode", 4))


def _primitive(
    file: Container, p: dict, *, name: str, materials: Materials, skin: int | None, joint_counts: list[int]
) -> Primitive:
    """Node and rest weights are filled in by whoever draws it."""
    reader = _Reader(file, p, name)
    material, count = materials[p.get("material")], reader.count
    normals = reader.attribute("NORMAL", width=3) if "NORMAL" in reader else None
    uvs = np.zeros((count, 2), np.float32)
    key = f"TEXCOORD_{material.uv_set}"
    if (material.texture is not None or material.emissive_texture is not None) and key in reader:
        uvs = _transformed(reader.attribute(key, width=2), material.uv_transform)
    colors = np.ones((count, 4), np.float32)
    if "COLOR_0" in reader:
        stored = reader.attribute("COLOR_0", normalized=True)
        if stored.shape[1] not in (3, 4):
            raise InputError(
                f"{file.path}: mesh {word(name)!r} has vertex colours of {stored.shape[1]} numbers, expected 3 or 4"
            )
        colors[:, : stored.shape[1]] = np.clip(stored, 0, 1)
    morphs, targets = [], p.get("targets", [])
    if len(targets) > MAX_TARGETS or count * len(targets) > MAX_WORK:
        raise InputError(
            f"{file.path}: mesh {word(name)!r} of {count} vertices has {len(targets)} morph targets; at most {MAX_TARGETS} are "
            f"read, and {MAX_WORK} offsets; export it with fewer"
        )
    for target in targets:
        dv = reader.target(target["POSITION"]) if "POSITION" in target else np.zeros_like(reader.positions)
        dn = reader.target(target["NORMAL"]) if "NORMAL" in target and normals is not None else None
        morphs.append((dv, dn))
    joints = weights = None
    if skin is not None and "JOINTS_0" in reader and "WEIGHTS_0" in reader:
        joints, weights = _skinning(file, reader, joint_counts[skin])
    out = Primitive(
        node=0,
        name=name,
        positions=reader.positions,
        normals=np.zeros_like(reader.positions) if normals is None else normals,
        indices=reader.indices,
        uvs=uvs,
        colors=colors,
        material=material,
        morphs=morphs,
        morph_weights=np.zeros(len(morphs), np.float32),
        joints=joints,
        weights=weights,
        skin=skin if joints is not None else None,
        flat=normals is None,
    )
    return _compact(file, out)


def _transformed(uvs: np.ndarray, transform: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        moved = uvs @ transform[:2, :2].T + transform[:2, 2]
    return np.nan_to_num(moved.astype(np.float32), posinf=0, neginf=0)


def _compact(file: Container, p: Primitive) -> Primitive:
    """The primitive with the vertices that its triangles use, where those are few (files share one array among many
    meshes) or where it has no normals: then each triangle gets vertices of its own."""
    if p.flat:
        chosen, indices = p.indices, np.arange(len(p.indices))
        if len(chosen) > MAX_VERTICES:
            raise InputError(
                f"{file.path}: mesh {word(p.name)!r} of {len(chosen) // 3} triangles has no normals; decimate it or export "
                "it with normals"
            )
    else:
        used = np.zeros(len(p.positions), bool)
        used[p.indices] = True
        if 2 * int(used.sum()) > len(used):
            return p
        chosen = np.flatnonzero(used)
        numbers = np.cumsum(used) - 1
        indices = numbers[p.indices]
    file.spend(len(chosen) * (60 + 24 * len(p.morphs)), f"mesh {word(p.name)!r}")
    return replace(
        p,
        positions=p.positions[chosen],
        normals=p.normals[chosen],
        uvs=p.uvs[chosen],
        colors=p.colors[chosen],
        indices=indices,
        morphs=[(dv[chosen], None if dn is None else dn[chosen]) for dv, dn in p.morphs],
        joints=None if p.joints is None else p.joints[chosen],
        weights=None if p.weights is None else p.weights[chosen],
    )


def _skinning(file: Container, reader: _Reader, joint_count: int) -> tuple[np.ndarray, np.ndarray]:
    """Joints and weights (n, 4 k) with weights >= 0 that sum to 1; a vertex without weights follows its first joint."""
    joints, weights, k = [], [], 0
    while f"JOINTS_{k}" in reader and f"WEIGHTS_{k}" in reader:
        file.spend(32 * reader.count, "joints")
        joints.append(reader.attribute(f"JOINTS_{k}", width=4, integer=True).astype(np.int64))
        weights.append(reader.attribute(f"WEIGHTS_{k}", width=4, normalized=True))
        k += 1
    joint = np.concatenate(joints, 1)
    weight = np.clip(np.concatenate(weights, 1), 0, 1e6)
    total = weight.sum(1, keepdims=True)
    first = np.eye(1, weight.shape[1], dtype=weight.dtype)
    weight = np.where(total > 1e-8, weight / np.maximum(total, 1e-8), first)
    if int(np.where(weight > 0, joint, 0).max(initial=0)) >= joint_count or int(joint.min(initial=0)) < 0:
        raise InputError(f"{file.path}: a mesh is bound to a joint that its skin does not have; export the file again")
    used = (weight > 0).any(0)
    return np.clip(joint, 0, joint_count - 1)[:, used], weight[:, used]


def _triangles(indices: np.ndarray, mode: int) -> np.ndarray:
    """Flat triangle indices from lists (4), strips (5) and fans (6)."""
    if mode == 4:
        return indices[: len(indices) // 3 * 3]
    if len(indices) < 3:
        return indices[:0]
    i = np.arange(len(indices) - 2)
    if mode == 5:
        odd = i % 2
        return indices[np.stack([i, i + 1 + odd, i + 2 - odd], 1)].ravel()
    return indices[np.stack([np.zeros_like(i), i + 1, i + 2], 1)].ravel()
