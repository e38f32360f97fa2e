"""The node tree, meshes and skins of a glTF file, validated so that posing cannot fail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .gltf_container import Container
from .gltf_materials import Material, Materials

MAX_NODES = 100_000
_TRIANGLE_MODES = (4, 5, 6)


@dataclass(kw_only=True)
class Primitive:
    """One triangle mesh: rest-pose attributes in glTF object space, its node, and what deforms it.

    Attributes:
        node: index of the node that draws it.
        positions, normals: (n, 3) float32; uvs (n, 2), already transformed; colors (n, 4) linear factors.
        indices: (3 m,) int64 vertex numbers.
        morphs: offsets of each target: positions (n, 3) and, where given, normals (n, 3).
        morph_weights: (targets,) at rest.
        joints, weights: (n, k) joint numbers of `skin` and their normalised weights, or None.
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


@dataclass(kw_only=True)
class Node:
    """A node: its parent (-1 for roots) and local transform; rotation is xyzw as in glTF; `matrix` (4, 4) replaces it."""

    name: str
    parent: int
    translation: np.ndarray
    rotation: np.ndarray
    scale: np.ndarray
    matrix: np.ndarray | None


@dataclass(kw_only=True)
class Skin:
    """Joint nodes (j,) and inverse bind matrices (j, 4, 4)."""

    joints: np.ndarray
    inverse: np.ndarray


@dataclass(kw_only=True)
class Scene:
    """What a file draws. `order` lists every node, parents before children."""

    primitives: list[Primitive]
    nodes: list[Node]
    order: list[int]
    skins: list[Skin]


def read_scene(file: Container) -> Scene:
    """The default scene. Raises InputError for damaged files and for those without triangles."""
    nodes = _nodes(file)
    order, drawn = _walk(file, nodes)
    skins = [_skin(file, record, len(nodes)) for record in file.json.get("skins", [])]
    materials = Materials(file)
    primitives = []
    for i in drawn:
        record = file.json["nodes"][i]
        if "mesh" not in record:
            continue
        mesh = file.record("meshes", record["mesh"])
        for p in mesh["primitives"]:
            if p.get("mode", 4) in _TRIANGLE_MODES and "POSITION" in p.get("attributes", {}):
                primitives.append(_primitive(file, i, mesh, p, materials, skins))
    primitives = [p for p in primitives if len(p.indices)]
    if not primitives:
        raise InputError(f"{file.path}: holds no triangles in its scene; expected a mesh")
    return Scene(primitives=primitives, nodes=nodes, order=order, skins=skins)


def _nodes(file: Container) -> list[Node]:
    records = file.json.get("nodes", [])
    if len(records) > MAX_NODES:
        raise InputError(f"{file.path}: {len(records)} nodes, at most {MAX_NODES} are read; merge them")
    parents = [-1] * len(records)
    for i, record in enumerate(records):
        for child in record.get("children", []):
            file.record("nodes", child)
            parents[child] = i
    return [_node(file, record, parent) for record, parent in zip(records, parents, strict=True)]


def _node(file: Container, record: dict, parent: int) -> Node:
    def numbers(key: str, default: tuple[float, ...]) -> np.ndarray:
        value = np.array(record.get(key, default), dtype=float)
        if value.shape != (len(default),) or not np.isfinite(value).all():
            raise InputError(
                f"{file.path}: a node's {key} needs {len(default)} finite numbers, got {str(record[key])[:60]}"
            )
        return value

    identity = tuple(np.eye(4).ravel())
    return Node(
        name=str(record.get("name", "")),
        parent=parent,
        translation=numbers("translation", (0, 0, 0)),
        rotation=numbers("rotation", (0, 0, 0, 1)),
        scale=numbers("scale", (1, 1, 1)),
        matrix=numbers("matrix", identity).reshape(4, 4).T if "matrix" in record else None,
    )


def _walk(file: Container, nodes: list[Node]) -> tuple[list[int], list[int]]:
    """All nodes and those of the default scene, parents first. Joints may lie outside it; meshes there are not drawn."""
    everything = [i for i, node in enumerate(nodes) if node.parent < 0]
    order = _depth_first(file, nodes, everything)
    if len(order) != len(nodes):
        raise InputError(f"{file.path}: its node tree has a cycle; export the file again")
    if not file.json.get("scenes"):
        return order, order
    return order, _depth_first(file, nodes, file.record("scenes", file.json.get("scene", 0)).get("nodes", []))


def _depth_first(file: Container, nodes: list[Node], roots: list[int]) -> list[int]:
    order: list[int] = []
    seen: set[int] = set()
    stack = list(reversed(roots))
    while stack:
        i = stack.pop()
        children = file.record("nodes", i).get("children", [])
        if i in seen or any(nodes[c].parent != i for c in children):
            raise InputError(f"{file.path}: node {i} has two parents or is its own ancestor; export the file again")
        seen.add(i)
        order.append(i)
        stack.extend(reversed(children))
    return order


def _skin(file: Container, record: dict, nodes: int) -> Skin:
    joints = np.array(record["joints"])
    whole = np.issubdtype(joints.dtype, np.integer)
    if not whole or joints.ndim != 1 or not len(joints) or joints.max() >= nodes or joints.min() < 0:
        raise InputError(f"{file.path}: a skin names joints that do not exist; export the file again")
    inverse = np.tile(np.eye(4), (len(joints), 1, 1))
    if "inverseBindMatrices" in record:
        inverse = file.accessor(record["inverseBindMatrices"], width=16).reshape(-1, 4, 4).transpose(0, 2, 1)
        if len(inverse) < len(joints):
            raise InputError(f"{file.path}: a skin of {len(joints)} joints has {len(inverse)} inverse bind matrices")
    return Skin(joints=joints.astype(np.int64), inverse=inverse[: len(joints)].astype(float))


def _primitive(file: Container, node: int, mesh: dict, p: dict, materials: Materials, skins: list[Skin]) -> Primitive:
    attributes, record = p["attributes"], file.json["nodes"][node]
    positions = file.accessor(attributes["POSITION"], width=3)
    count = len(positions)
    name = str(record.get("name", mesh.get("name", "")))

    def per_vertex(key: int, *, width: int | None = None, integer: bool = False) -> np.ndarray:
        array = file.accessor(key, width=width, integer=integer)
        if len(array) != count:
            raise InputError(
                f"{file.path}: mesh {name[:60]!r} has {count} positions but {len(array)} of another attribute; export it again"
            )
        return array

    indices = np.arange(count)
    if "indices" in p:
        indices = file.accessor(p["indices"], width=1, integer=True)[:, 0].astype(np.int64)
    indices = _triangles(indices, p.get("mode", 4))
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < count:
        raise InputError(f"{file.path}: mesh {name[:60]!r} indexes vertex {int(indices.max())} of {count}")
    normals = per_vertex(attributes["NORMAL"], width=3) if "NORMAL" in attributes else None
    material = materials[p.get("material")]
    uvs = np.zeros((count, 2), np.float32)
    key = f"TEXCOORD_{material.uv_set}"
    if material.texture is not None and key in attributes:
        uvs = np.c_[per_vertex(attributes[key], width=2), np.ones(count)] @ material.uv_transform.T
        uvs = uvs[:, :2].astype(np.float32)
    colors = np.ones((count, 4), np.float32)
    if "COLOR_0" in attributes:
        stored = per_vertex(attributes["COLOR_0"])
        colors[:, : stored.shape[1]] = stored
    morphs = []
    for target in p.get("targets", []):
        dv = per_vertex(target["POSITION"], width=3) if "POSITION" in target else np.zeros_like(positions)
        morphs.append((dv, per_vertex(target["NORMAL"], width=3) if "NORMAL" in target else None))
    rest = np.array(record.get("weights", mesh.get("weights", [0.0] * len(morphs))), dtype=np.float32)
    joints = weights = skin = None
    if "skin" in record and "JOINTS_0" in attributes and "WEIGHTS_0" in attributes:
        skin = record["skin"]
        file.record("skins", skin)
        k = 0
        sets = []
        while f"JOINTS_{k}" in attributes and f"WEIGHTS_{k}" in attributes:
            joint = per_vertex(attributes[f"JOINTS_{k}"], width=4, integer=True)
            sets.append((joint.astype(np.int64), per_vertex(attributes[f"WEIGHTS_{k}"], width=4)))
            k += 1
        joints, weights = _normalised(file, sets, len(skins[skin].joints))
    return Primitive(
        node=node,
        name=name,
        positions=positions,
        normals=_smooth_normals(positions, indices) if normals is None else normals,
        indices=indices,
        uvs=uvs,
        colors=colors,
        material=material,
        morphs=morphs,
        morph_weights=np.nan_to_num(rest, posinf=0, neginf=0).reshape(-1),
        joints=joints,
        weights=weights,
        skin=skin,
    )


def _normalised(
    file: Container, sets: list[tuple[np.ndarray, np.ndarray]], joint_count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Joints and weights (n, 4 k) with weights >= 0 that sum to 1; a vertex without weights follows its first joint."""
    joint = np.concatenate([j for j, _ in sets], 1)
    weight = np.maximum(np.concatenate([w for _, w in sets], 1), 0)
    total = weight.sum(1, keepdims=True)
    first = np.eye(1, weight.shape[1], dtype=weight.dtype)
    weight = np.where(total > 1e-8, weight / np.maximum(total, 1e-8), first)
    if int(np.where(weight > 0, joint, 0).max(initial=0)) >= joint_count:
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


def _smooth_normals(positions: np.ndarray, indices: np.ndarray) -> np.ndarray:
    triangles = indices.reshape(-1, 3)
    a, b, c = (positions[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    normals = np.zeros_like(positions)
    for k in range(3):
        np.add.at(normals, triangles[:, k], face)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
